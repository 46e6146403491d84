// The sketch as it is, for as many turns of its loop as asked.
#include "config.h"

#include "load_cell.ino"

int main(int, char **argv) {
  setup();
  for (long turn = atol(argv[1]); turn > 0; --turn)
    loop();
  return 0;
}
