/* main.c -- properties of the whole: the same bits everywhere. `prop --golden [NAME]` (make
 * golden) writes the golden hashes, those of models whose names hold NAME. */
#include "prop.h"

int main(int argc, char **argv) {
    log_set(LOG_ERROR);
    if (argc >= 2 && !strcmp(argv[1], "--golden"))
        return samebits_write(argc > 2 ? argv[2] : "") != 0;
    return samebits_tests() + training_tests() + thought_tests() != 0;
}
