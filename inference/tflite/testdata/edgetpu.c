// A double of libedgetpu.so.1 for tests: it takes every edgetpu-custom-op and does what the file named by HERON_DOUBLE says, read anew at each step
// (or, where there is one, the file of that name and the stick's port, such as does.2-1, for that stick alone):
//   ok        answers that depend on the input
//   busy      gives no delegate, without a word
//   gone      the device fails when it is used
//   hang      never comes back from its use; hang-open: from its opening
//   abort     aborts when it is used; abort-open: when it is opened
//   rubbish   NaN for float32, a constant 255 for 8 bits
//   slow N    takes N ms, 40 where there is no number
// HERON_DOUBLE_SEES lists the devices it reports, one path a line; sticks only while HERON_SYSFS, where it is set, has them. Asked for one ("usb:1"), it
// takes it by its place in that list; one process at a time can have it (a lock on the file of HERON_DOUBLE, the port and ".lock"), and
// several models of that process. Built with -DOLD it has the structures of TensorFlow Lite 2.9, which do not
// fit 2.18. The structures are declared by hand: the order of their fields is a fact of TensorFlow's interface (Apache-2.0).
#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
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
typedef struct { ints *inputs, *outputs, *intermediates, *temporaries; void *user; } node; // and more

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

struct stick { char port[64]; int lock, models; };

static int told(const struct stick *s, const char *what) {
	char word[32] = "ok", own[4096];
	const char *path = getenv("HERON_DOUBLE");
	snprintf(own, sizeof own, "%s.%s", path ? path : "", s->port);
	FILE *f = path && s->port[0] ? fopen(own, "r") : NULL;
	if (path && !f) f = fopen(path, "r");
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
	const struct stick *s = n->user;
	if (told(s, "hang")) hang();
	if (told(s, "abort")) abort();
	if (told(s, "slow")) nanosleep(&(struct timespec){number / 1000, number % 1000 * 1000000L}, NULL);
	if (told(s, "gone")) {
		c->error(c, "Failed to execute request. Could not map pages : 5 (the double was unplugged)");
		return 1;
	}
	if (told(s, "rubbish")) rubbish(out);
	else answer(&c->tensors[n->inputs->data[0]], out);
	return 0;
}

// init is given what the delegate replaces; the delegate itself is the first of it.
static void *init(context *c, const char *b, size_t n) {
	(void)c, (void)n;
	return (*(delegate *const *)b)->data;
}
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

static int plugged(const char *path) {
	char at[4096];
	const char *sysfs = getenv("HERON_SYSFS");
	if (!sysfs || strncmp(path, "/sys/", 5)) return 1;
	snprintf(at, sizeof at, "%s%s", sysfs, path + 4);
	return access(at, F_OK) == 0;
}

struct device *edgetpu_list_devices(size_t *n) {
	static char text[1024];
	static struct device seen[8];
	snprintf(text, sizeof text, "%s", getenv("HERON_DOUBLE_SEES") ? getenv("HERON_DOUBLE_SEES") : "");
	*n = 0;
	for (char *p = strtok(text, "\n"); p && *n < 8; p = strtok(NULL, "\n"))
		if (plugged(p)) seen[(*n)++] = (struct device){strstr(p, "apex") ? 0 : 1, p};
	return seen;
}

// asked finds the stick that an option means; without one, the first that there is.
static struct stick *asked(const char *option) {
	static struct stick sticks[8]; // one a port, for the life of the process
	int usb = !option || option[0] == 'u', place = option && strchr(option, ':') ? atoi(strchr(option, ':') + 1) : 0;
	size_t n;
	struct device *d = edgetpu_list_devices(&n);
	const char *port = NULL;
	for (size_t i = 0; i < n && !port; i++)
		if ((!option || d[i].type == usb) && place-- == 0) port = strrchr(d[i].path, '/') + 1;
	if (!port) return NULL;
	for (int i = 0; i < 8; i++) {
		if (!sticks[i].port[0]) snprintf(sticks[i].port, sizeof sticks[i].port, "%s", port);
		if (!strcmp(sticks[i].port, port)) return &sticks[i];
	}
	return NULL;
}

// taken takes the stick for this process, unless another one has it.
static int taken(struct stick *s) {
	char path[4096];
	if (s->models++ || !getenv("HERON_DOUBLE")) return 1;
	snprintf(path, sizeof path, "%s.%s.lock", getenv("HERON_DOUBLE"), s->port);
	s->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (s->lock >= 0 && flock(s->lock, LOCK_EX | LOCK_NB) == 0) return 1;
	close(s->lock);
	s->models = 0;
	return 0;
}

void edgetpu_free_devices(struct device *d) { (void)d; }

const char *edgetpu_version(void) { return "double"; }

delegate *tflite_plugin_create_delegate(const char *const *keys, const char *const *values, size_t n, void (*error)(const char *)) {
	(void)error;
	struct stick *s = asked(n ? values[0] : NULL);
	if (!s) return NULL;
	if (told(s, "hang-open")) hang();
	if (told(s, "abort-open")) abort();
	if (told(s, "busy") || !taken(s)) return NULL;
	const char *note = getenv("HERON_DOUBLE_ASKED"); // a file that gets what was asked for
	FILE *f = note ? fopen(note, "w") : NULL;
	for (size_t i = 0; f && i < n; i++) fprintf(f, "%s=%s\n", keys[i], values[i]);
	if (f) fclose(f);
	delegate *d = calloc(1, sizeof *d);
	d->data = s;
	d->prepare = prepare;
	d->flags = 1; // dynamic tensors are fine
	return d;
}

void tflite_plugin_destroy_delegate(delegate *d) {
	struct stick *s = d->data;
	if (--s->models == 0 && getenv("HERON_DOUBLE")) close(s->lock);
	free(d);
}
