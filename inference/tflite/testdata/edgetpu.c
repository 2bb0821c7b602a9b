// A double of libedgetpu.so.1 for tests: it takes every edgetpu-custom-op and does what the file named by HERON_DOUBLE says, read anew at each step:
//   ok        answers that depend on the input
//   busy      gives no delegate, without a word
//   gone      the device fails when it is used
//   hang      never comes back from its use; hang-open: from its opening
//   abort     aborts when it is used; abort-open: when it is opened
//   rubbish   NaN for float32, a constant 255 for 8 bits
//   slow N    takes N ms, 40 where there is no number
// HERON_DOUBLE_SEES lists the devices it reports, one path a line. Built with -DOLD it has the structures of TensorFlow Lite 2.9, which do not
// fit 2.18. The structures are declared by hand: the order of their fields is a fact of TensorFlow's interface (Apache-2.0).
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct { int size; int data[]; } ints;
typedef struct {
	int type;
	void *data;
	ints *dims;
	struct { float scale; int zero; } params;
	int allocation_type;
	size_t bytes;
	const void *allocation;
	const char *name;
	void *delegate;
	int buffer_handle;
	_Bool stale, variable;
	struct { int type; void *params; } quantization;
	void *sparsity;
	const ints *signature;
} tensor;
typedef struct { ints *inputs, *outputs; } node; // and more

struct context;
typedef struct {
	void *(*init)(struct context *, const char *, size_t);
	void (*free)(struct context *, void *);
	int (*prepare)(struct context *, node *);
	int (*invoke)(struct context *, node *);
	const char *(*profiling)(const struct context *, const node *);
	int32_t builtin;
	const char *custom_name;
	int version;
#ifndef OLD
	void *external;
	void *(*async)(struct context *, node *);
	uint64_t inplace;
#endif
} registration;

typedef struct delegate {
	void *data;
	int (*prepare)(struct context *, struct delegate *);
	void *copy_from, *copy_to, *free_handle;
	int64_t flags;
#ifndef OLD
	void *builder;
#endif
} delegate;

typedef struct context {
	size_t tensors_size;
	int (*plan)(struct context *, ints **);
	tensor *tensors;
	void *impl;
	int (*resize)(struct context *, tensor *, ints *);
	void (*error)(struct context *, const char *, ...);
	int (*add)(struct context *, int, int *);
	int (*node)(struct context *, int, node **, registration **);
	int (*replace)(struct context *, registration, const ints *, delegate *);
} context; // and more

static int number; // behind the word that was read last

static int told(const char *what) {
	char word[32] = "ok";
	const char *path = getenv("HERON_DOUBLE");
	FILE *f = path ? fopen(path, "r") : NULL;
	if (f) {
		number = 40;
		if (fscanf(f, "%31s %d", word, &number) < 1) strcpy(word, "ok");
		fclose(f);
	}
	return strcmp(word, what) == 0;
}

static void hang(void) {
	for (;;) pause();
}

static void rubbish(tensor *t) {
	memset(t->data, 0xff, t->bytes); // as float32: NaN
}

static void answer(const tensor *in, tensor *out) {
	uint32_t sum = 0;
	for (size_t i = 0; i < in->bytes; i++) sum = sum * 31 + ((uint8_t *)in->data)[i];
	for (size_t i = 0; i < out->bytes; i++) ((uint8_t *)out->data)[i] = 0;
	if (out->type == 1) *(float *)out->data = (float)(sum % 100) / 100;
	else *(uint8_t *)out->data = sum % 100;
}

static int invoke(context *c, node *n) {
	tensor *out = &c->tensors[n->outputs->data[0]];
	if (told("hang")) hang();
	if (told("abort")) abort();
	if (told("slow")) nanosleep(&(struct timespec){number / 1000, number % 1000 * 1000000L}, NULL);
	if (told("gone")) {
		c->error(c, "Failed to execute request. Could not map pages : 5 (the double was unplugged)");
		return 1;
	}
	if (told("rubbish")) rubbish(out);
	else answer(&c->tensors[n->inputs->data[0]], out);
	return 0;
}

static void *init(context *c, const char *b, size_t n) { (void)c, (void)b, (void)n; return NULL; }
static void nothing(context *c, void *p) { (void)c, (void)p; }
static int ready(context *c, node *n) { (void)c, (void)n; return 0; }

static int prepare(context *c, delegate *d) {
	ints *plan;
	if (c->plan(c, &plan)) return 1;
	ints *take = malloc(sizeof *take + sizeof(int) * (size_t)plan->size);
	take->size = 0;
	for (int i = 0; i < plan->size; i++) {
		node *n;
		registration *r;
		if (c->node(c, plan->data[i], &n, &r)) return 1;
		if (r->custom_name && !strcmp(r->custom_name, "edgetpu-custom-op")) take->data[take->size++] = plan->data[i];
	}
	registration mine = {.init = init, .free = nothing, .prepare = ready, .invoke = invoke, .custom_name = "double", .version = 1};
	int status = c->replace(c, mine, take, d);
	free(take);
	return status;
}

struct device { int type; const char *path; };

struct device *edgetpu_list_devices(size_t *n) {
	static char text[1024];
	static struct device seen[8];
	snprintf(text, sizeof text, "%s", getenv("HERON_DOUBLE_SEES") ? getenv("HERON_DOUBLE_SEES") : "");
	*n = 0;
	for (char *p = strtok(text, "\n"); p && *n < 8; p = strtok(NULL, "\n")) seen[(*n)++] = (struct device){strstr(p, "apex") ? 0 : 1, p};
	return seen;
}

void edgetpu_free_devices(struct device *d) { (void)d; }

const char *edgetpu_version(void) { return "double"; }

delegate *tflite_plugin_create_delegate(const char *const *keys, const char *const *values, size_t n, void (*error)(const char *)) {
	(void)error;
	if (told("hang-open")) hang();
	if (told("abort-open")) abort();
	if (told("busy")) return NULL;
	const char *asked = getenv("HERON_DOUBLE_ASKED"); // a file that gets what was asked for
	FILE *f = asked ? fopen(asked, "w") : NULL;
	for (size_t i = 0; f && i < n; i++) fprintf(f, "%s=%s\n", keys[i], values[i]);
	if (f) fclose(f);
	delegate *d = calloc(1, sizeof *d);
	d->prepare = prepare;
	d->flags = 1; // dynamic tensors are fine
	return d;
}

void tflite_plugin_destroy_delegate(delegate *d) { free(d); }
