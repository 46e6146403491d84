// As much of Arduino as firmware/load_cell needs, on the host: its serial port is standard input and output, its HX711
// sits on the two pins. A conversion comes every 2 ms of `micros()`, which each look at it moves on by 50 us; first
// both ends and what lies between them, then 1000, 1001, ...; after forty the chip is silent.
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { LOW, HIGH, INPUT, OUTPUT };

struct Bench {
  uint32_t now_us, next_us;
  uint32_t shifted, conversions;
  bool clock;
  uint8_t pulses;

  static const int32_t ENDS[4];
  int32_t value() const { return conversions < 4 ? ENDS[conversions] : (int32_t)(996 + conversions); }
  bool silent() const { return conversions >= 40; }
};
const int32_t Bench::ENDS[4] = {-8388608, -4194304, -1, 8388607};
static Bench bench = {4294940000u, 4294940000u, 0, 0, false, 0}; // micros() is about to wrap around

inline uint32_t micros() { return bench.now_us += 50; }
inline void delay(uint32_t ms) { bench.now_us += 1000 * ms; }
inline void delayMicroseconds(uint32_t) {}
inline void noInterrupts() {}
inline void interrupts() {}
inline void pinMode(int, int) {}

inline void digitalWrite(int pin, int level) {
  if (pin != HX711_CLOCK_PIN)
    return;
  if (level == HIGH && !bench.clock && ++bench.pulses <= 24)
    bench.shifted = ((uint32_t)bench.value() >> (24 - bench.pulses)) & 1;
  if (level == LOW && bench.pulses == 25) {
    bench.pulses = 0;
    ++bench.conversions;
    bench.next_us = bench.now_us + 2000;
  }
  bench.clock = level == HIGH;
}

inline int digitalRead(int) {
  if (bench.pulses)
    return bench.shifted ? HIGH : LOW;
  return bench.silent() || (int32_t)(bench.now_us - bench.next_us) < 0 ? HIGH : LOW;
}

struct Port {
  void begin(long) { setvbuf(stdout, nullptr, _IOLBF, 4096); }
  int available() {
    int waiting = 0;
    return ioctl(0, FIONREAD, &waiting) == 0 ? waiting : 0;
  }
  int read() {
    char byte;
    return ::read(0, &byte, 1) == 1 ? byte : -1;
  }
  void print(const char *text) { fputs(text, stdout); }
};
static Port Serial;
