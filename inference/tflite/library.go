package tflite

import (
	"os"
	"path/filepath"
	"strings"
)

// What says where the libraries are, and the names that are tried where nothing says so.
const (
	libraryEnv = "HERON_TFLITE_LIB"
	pluginEnv  = "HERON_EDGETPU_LIB"
)

// Names are those of the C library's own build and of the Java package that carries the same functions.
var (
	libraryNames = []string{"libtensorflowlite_c.so", "libjnitensorflowlite.so"} // read only
	pluginNames  = []string{"libedgetpu.so.1"}                                   // read only
)

const (
	libraryNext = "run make setup, or set " + libraryEnv + " to libtensorflowlite_c.so (2.18)"
	pluginNext  = "install libedgetpu.so.1, built for the same TensorFlow Lite, or set " + pluginEnv + " to it"
)

// candidates lists what to try, in order: the environment's word alone if there is one, else what lies in lib/ beside the program,
// else the system's names.
func candidates(env string, names []string) []string {
	if path := os.Getenv(env); path != "" {
		return []string{path}
	}
	exe, err := os.Executable()
	if err != nil {
		return names
	}
	var out []string
	for _, n := range names {
		if path := filepath.Join(filepath.Dir(exe), "lib", n); exists(path) {
			out = append(out, path)
		}
	}
	return append(out, names...)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// missing says in the user's words why a library could not be opened; why is the loader's word for the last one tried.
func missing(what, env string, tried []string, why string) string {
	if path := os.Getenv(env); path != "" {
		if !exists(path) {
			return what + " is not at " + path + ", where " + env + " says it is"
		}
		return what + " at " + path + " cannot be opened: " + why
	}
	for _, path := range tried {
		if filepath.IsAbs(path) {
			return what + " at " + path + " cannot be opened: " + why
		}
	}
	return what + " was not found (tried " + strings.Join(tried, ", ") + ")"
}
