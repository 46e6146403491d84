// NAU7802, channel 1, gain 128, 80 samples/s. Data sheet (Nuvoton) rev 1.7, sections 9 (start-up) and 11 (registers).
#pragma once

#include <Arduino.h>
#include <Wire.h>

#include "protocol.h"

class Nau7802 {
public:
  static const int RATE = NAU7802_RATE;
  static const char *name() { return "NAU7802"; }

  bool begin() {
    Wire.begin();
    Wire.setClock(400000);
    if (!write(PU_CTRL, RESET) || !write(PU_CTRL, POWER_DIGITAL))
      return false;
    for (uint8_t i = 0; !(read(PU_CTRL) & POWER_READY); ++i) {
      if (i == 100)
        return false;
      delay(1);
    }
    write(PU_CTRL, POWER_DIGITAL | POWER_ANALOG | INTERNAL_LDO);
    write(CTRL1, LDO_3V3 | GAIN_128);
    write(CTRL2, RATE_80);
    write(ADC_CONTROL, CHOPPER_OFF);
    write(PGA_PWR, CHANNEL_2_CAPACITOR);
    delay(600); // the regulator settles
    write(CTRL2, RATE_80 | CALIBRATE_OFFSET);
    for (uint16_t i = 0; read(CTRL2) & CALIBRATE_OFFSET; ++i) {
      if (i == 1000)
        return false;
      delay(1);
    }
    if (read(CTRL2) & CALIBRATION_ERROR)
      return false;
    return write(PU_CTRL, POWER_DIGITAL | POWER_ANALOG | INTERNAL_LDO | CYCLE_START);
  }

  bool ready() { return read(PU_CTRL) & CYCLE_READY; }

  // False when the chip does not answer: part of a conversion is none.
  bool take(int32_t &counts) {
    if (!ask(ADC_RESULT, 3))
      return false;
    uint32_t bits = 0;
    for (uint8_t i = 0; i < 3; ++i)
      bits = (bits << 8) | (uint8_t)Wire.read();
    counts = protocol::sign_extended(bits);
    return true;
  }

private:
  enum : uint8_t {
    ADDRESS = 0x2A,
    PU_CTRL = 0x00,
    CTRL1 = 0x01,
    CTRL2 = 0x02,
    ADC_RESULT = 0x12,
    ADC_CONTROL = 0x15,
    PGA_PWR = 0x1C,
    RESET = 0x01,
    POWER_DIGITAL = 0x02,
    POWER_ANALOG = 0x04,
    POWER_READY = 0x08,
    CYCLE_START = 0x10,
    CYCLE_READY = 0x20,
    INTERNAL_LDO = 0x80,
    LDO_3V3 = 0x20,
    GAIN_128 = 0x07,
    RATE_80 = 0x30,
    CALIBRATE_OFFSET = 0x04,
    CALIBRATION_ERROR = 0x08,
    CHOPPER_OFF = 0x30,
    CHANNEL_2_CAPACITOR = 0x80,
  };

  bool write(uint8_t where, uint8_t value) {
    Wire.beginTransmission((uint8_t)ADDRESS);
    Wire.write(where);
    Wire.write(value);
    return Wire.endTransmission() == 0;
  }

  bool ask(uint8_t where, uint8_t count) {
    Wire.beginTransmission((uint8_t)ADDRESS);
    Wire.write(where);
    return Wire.endTransmission() == 0 && Wire.requestFrom((uint8_t)ADDRESS, count) == count;
  }

  // What a register holds; 0 when the chip does not answer, so that it is never ready then.
  uint8_t read(uint8_t where) { return ask(where, 1) ? Wire.read() : 0; }
};
