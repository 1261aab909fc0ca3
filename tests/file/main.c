/* main.c -- runs the groups of tests of file/. */
#include "files.h"

int main(void) {
    log_set(LOG_ERROR);
    return (scan_tests() + safetensors_tests() + gguf_tests() + ckpt_tests() + hostile_tests()
            + write_tests())
           != 0;
}
