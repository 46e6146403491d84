// HX711, channel A, gain 128. Data sheet (AVIA), "Serial Interface": DOUT falls when a conversion is ready; 24 clock
// pulses take it, most significant bit first; the 25th starts the next one with the same channel and gain. A clock
// that stays high for 60 us switches the chip off, so no interrupt may lengthen a pulse.
#pragma once

#include <Arduino.h>

#include "protocol.h"

class Hx711 {
public:
  static const int RATE = HX711_RATE;
  static const char *name() { return "HX711"; }

  bool begin() {
    pinMode(HX711_DATA_PIN, INPUT);
    pinMode(HX711_CLOCK_PIN, OUTPUT);
    digitalWrite(HX711_CLOCK_PIN, LOW);
    return true; // it has no answer; a chip that is not there never becomes ready
  }

  bool ready() { return digitalRead(HX711_DATA_PIN) == LOW; }

  bool take(int32_t &counts) {
    uint32_t bits = 0;
    for (uint8_t i = 0; i < 24; ++i)
      bits = (bits << 1) | pulse();
    pulse();
    counts = protocol::sign_extended(bits);
    return true;
  }

private:
  uint8_t pulse() {
    noInterrupts();
    digitalWrite(HX711_CLOCK_PIN, HIGH);
    delayMicroseconds(1);
    uint8_t bit = digitalRead(HX711_DATA_PIN) == HIGH;
    digitalWrite(HX711_CLOCK_PIN, LOW);
    interrupts();
    delayMicroseconds(1);
    return bit;
  }
};
