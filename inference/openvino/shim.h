// The few functions of the OpenVINO C API (ov_*, 2022.3 and later) that Heron uses, from a library opened at run time.
// No header of OpenVINO's is needed, and no number of its element types is known here: library.go asks for them.
#ifndef HERON_OPENVINO_SHIM_H
#define HERON_OPENVINO_SHIM_H
#include <stddef.h>
#include <stdint.h>

enum { HOV_TEXT = 2048, HOV_RANK = 8, HOV_PROPERTIES = 8 };

typedef struct hov_lib hov_lib;
typedef struct hov_model hov_model;

// An input or output. A rank of -1 is unknown or more than HOV_RANK; a dimension of -1 is not fixed.
typedef struct {
  char name[256];
  int type;
  int rank;
  int64_t dims[HOV_RANK];
} hov_port;

// Of a library. Functions that return int return 0, or -1 with the reason in err, which holds HOV_TEXT bytes.
hov_lib *hov_open(const char *path, char *err);
const char *hov_version(const hov_lib *l);
int hov_devices(hov_lib *l, char *out, size_t n, char *err); // separated by newlines
int hov_property(hov_lib *l, const char *device, const char *key, char *out, size_t n, char *err);

// Of a model: the reason is hov_error's. weights may be NULL. The order is read, reshape, compile, tensor, infer, free.
hov_model *hov_read(hov_lib *l, const char *path, const char *weights, char *err);
const char *hov_error(const hov_model *m);
int hov_ports(hov_model *m, size_t *inputs, size_t *outputs);
int hov_port_at(hov_model *m, int output, size_t index, hov_port *p);
int hov_output_named(hov_model *m, const char *name, size_t *index);
int hov_reshape(hov_model *m, int rank, const int64_t *dims);
int hov_compile(hov_model *m, const char *device, size_t pairs, const char *const *properties); // key, value, key, value …
int hov_tensor(hov_model *m, int output, size_t index, void **data, size_t *bytes);             // the request's own, valid until hov_free
int hov_infer(hov_model *m);
void hov_cancel(hov_model *m); // from any thread: ends the hov_infer that is at work or about to be, and every one until hov_rearm
void hov_rearm(hov_model *m);
void hov_free(hov_model *m);
#endif
