// A load cell's amplifier on a serial port, for kinema.devices.serial_load_cell. Arduino Uno, Nano, Micro and the like.
//
// Sends every conversion as a numbered line with a CRC (protocol.h), who it is when asked, and says so when the chip
// falls silent. Taring and units are the host's: the board sends counts and knows nothing else.

#include "config.h"
#include "protocol.h"

#if USE_HX711
#include "hx711.h"
Hx711 chip;
#else
#include "nau7802.h"
Nau7802 chip;
#endif

static const uint32_t SILENCE_US = 100000; // eight conversions at 80 samples/s

static char line[protocol::LONGEST];
static uint32_t number = 0;
static uint32_t last_us = 0;
static bool begun = false;

static void hello() {
  protocol::hello(line, SERIAL_NUMBER, chip.name(), chip.RATE);
  Serial.print(line);
}

void setup() {
  Serial.begin(115200);
  begun = chip.begin();
  last_us = micros();
  hello();
}

void loop() {
  while (Serial.available() > 0) {
    if (Serial.read() == '?')
      hello();
  }
  const bool ready = begun && chip.ready();
  const uint32_t now_us = micros();
  int32_t counts;
  if (ready && chip.take(counts)) {
    protocol::conversion(line, number++, now_us, counts);
  } else if (now_us - last_us > SILENCE_US) {
    protocol::missing(line, number++, now_us, begun ? "silent" : "absent");
    begun = begun || chip.begin();
  } else {
    return;
  }
  last_us = now_us;
  Serial.print(line);
}
