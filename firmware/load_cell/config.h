// What differs from board to board. The serial number is the one that the cell file and load_cell.yaml name.
#pragma once

#define SERIAL_NUMBER "LC-1" // letters, digits, '_', '.', '-'; at most 32
#define USE_HX711 1          // 1: HX711 on two pins; 0: NAU7802 on I2C

// HX711. Tie its RATE pin high: 80 samples/s. As delivered most modules run at 10.
#define HX711_DATA_PIN 3
#define HX711_CLOCK_PIN 2
#define HX711_RATE 80

// NAU7802, at 80 samples/s.
#define NAU7802_RATE 80
