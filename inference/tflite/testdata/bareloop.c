// TensorFlow Lite's C API in a bare loop.
//
//   gcc -O2 -I ../../enginetest/testdata -o bareloop bareloop.c -ldl && bareloop LIBRARY MODEL
#include <stdint.h>

#include "bareloop.h"

int main(int argc, char **argv) {
  open_library(argc, argv);
  struct { int32_t word[64]; } options = {{1, 3}};
  void *(*model_of)(const char *) = function("TfLiteModelCreateFromFile");
  void *(*options_of)(void) = function("TfLiteInterpreterOptionsCreate");
  void (*threads)(void *, int32_t) = function("TfLiteInterpreterOptionsSetNumThreads");
  void *(*xnnpack)(void *) = function("TfLiteXNNPackDelegateCreate");
  void (*add)(void *, void *) = function("TfLiteInterpreterOptionsAddDelegate");
  void *(*create)(void *, void *) = function("TfLiteInterpreterCreate");
  int (*allocate)(void *) = function("TfLiteInterpreterAllocateTensors");
  void *o = options_of();
  threads(o, 1);
  add(o, xnnpack(&options));
  void *model = model_of(argv[2]), *interpreter = model ? create(model, o) : NULL;
  must(!interpreter, "open");
  must(allocate(interpreter), "allocate");
  return run(function("TfLiteInterpreterInvoke"), interpreter);
}
