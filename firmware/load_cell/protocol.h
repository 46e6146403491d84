// The line protocol, board's end: src/kinema/load_cell_lines.py describes it and is the other end. No Arduino in here:
// a test compiles this file on the host and holds the two ends together.
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <string.h>

namespace protocol {

const int VERSION = 1;
const int LONGEST = 96; // bytes of a line, all of it

// CRC-32 of IEEE 802.3, bit by bit: 80 lines/s leave time enough, and a table would cost a kilobyte.
inline uint32_t crc32(const char *text, size_t length) {
  uint32_t crc = 0xFFFFFFFFUL;
  for (size_t i = 0; i < length; ++i) {
    crc ^= (uint8_t)text[i];
    for (uint8_t bit = 0; bit < 8; ++bit)
      crc = crc & 1 ? (crc >> 1) ^ 0xEDB88320UL : crc >> 1;
  }
  return ~crc;
}

// Complete a body in `line`, which has room for LONGEST bytes, by its CRC and line ending.
inline void close_line(char *line) {
  size_t length = strlen(line);
  snprintf(line + length, LONGEST - length, "*%08lX\r\n", (unsigned long)crc32(line, length));
}

inline void hello(char *line, const char *serial, const char *chip, int rate) {
  snprintf(line, LONGEST, "H,%d,%s,%s,%d", VERSION, serial, chip, rate);
  close_line(line);
}

inline void conversion(char *line, uint32_t number, uint32_t time_us, int32_t counts) {
  snprintf(line, LONGEST, "D,%lu,%lu,%ld", (unsigned long)number, (unsigned long)time_us, (long)counts);
  close_line(line);
}

inline void missing(char *line, uint32_t number, uint32_t time_us, const char *what) {
  snprintf(line, LONGEST, "E,%lu,%lu,%s", (unsigned long)number, (unsigned long)time_us, what);
  close_line(line);
}

// 24 bits of two's complement, as both converters deliver them.
inline int32_t sign_extended(uint32_t bits) { return (int32_t)(bits << 8) / 256; }

} // namespace protocol
