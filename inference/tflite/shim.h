// What Go calls of shim.c. The TensorFlow Lite C API is declared in shim.c by hand, only as far as it is used; the names, the order of
// arguments and the numbers are facts of that interface (TensorFlow, Apache-2.0), no text of its headers is here.
#ifndef HERON_TFLITE_SHIM_H
#define HERON_TFLITE_SHIM_H
#include <stddef.h>

typedef struct heron_lib heron_lib;         // libtensorflowlite_c, open
typedef struct heron_plugin heron_plugin;   // libedgetpu, open
typedef struct heron_session heron_session; // one model, loaded

enum { heron_moved = -1 }; // an answer of heron_invoke, beside TensorFlow Lite's own status

// On failure these return NULL and one line in err, which holds room bytes. What is open stays open: libraries are never closed.
heron_lib *heron_open(const char *path, char *err, size_t room);
heron_plugin *heron_open_plugin(const char *path, char *err, size_t room);

const char *heron_version(heron_lib *);
const char *heron_plugin_version(heron_plugin *); // "" where it does not say

// heron_devices writes what libedgetpu sees, one path a line.
void heron_devices(heron_plugin *, char *out, size_t room);

// heron_load copies the model. Without a plugin it runs on the CPU; with one, on the device that libedgetpu calls device ("": any);
// busy then says that it gave none. err may stay empty.
heron_session *heron_load(heron_lib *, const void *model, size_t size, int threads, heron_plugin *, const char *device, int *busy, char *err, size_t room);
int heron_accelerated(heron_session *); // XNNPACK or the plugin took part

int heron_inputs(heron_session *);
int heron_outputs(heron_session *);
// heron_bind fixes the two tensors; their memory stays where it is, or heron_invoke says heron_moved. 0: there is no such tensor, or it has no memory yet.
int heron_bind(heron_session *, int output);
void *heron_input_data(heron_session *, size_t *bytes);
void *heron_output_data(heron_session *, size_t *bytes);

int heron_invoke(heron_session *); // 0 is success
void heron_cancel(heron_session *); // from any thread; stops an invocation before its next operator
const char *heron_words(heron_session *); // what TensorFlow Lite said since the last call began
void heron_free(heron_session *);
#endif
