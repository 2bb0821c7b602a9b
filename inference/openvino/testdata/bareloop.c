// OpenVINO's C API in a bare loop.
//
//   gcc -O2 -I ../../enginetest/testdata -o bareloop bareloop.c -ldl && bareloop libopenvino_c.so MODEL
#include "bareloop.h"

int main(int argc, char **argv) {
  open_library(argc, argv);
  void *core, *model, *compiled, *request;
  must(((int (*)(void **))function("ov_core_create"))(&core), "core");
  must(((int (*)(void *, const char *, const char *, void **))function("ov_core_read_model"))(core, argv[2], NULL, &model), "read");
  must(((int (*)(void *, void *, const char *, size_t, void **, ...))function("ov_core_compile_model"))(
           core, model, "CPU", 10, &compiled, "PERFORMANCE_HINT", "LATENCY", "NUM_STREAMS", "1", "INFERENCE_PRECISION_HINT", "f32", "INFERENCE_NUM_THREADS",
           "1", "ENABLE_CPU_PINNING", "NO"),
       "compile");
  must(((int (*)(void *, void **))function("ov_compiled_model_create_infer_request"))(compiled, &request), "request");
  return run(function("ov_infer_request_infer"), request);
}
