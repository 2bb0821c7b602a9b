package onnx

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// libraryEnv names the environment variable that says where ONNX Runtime is.
const libraryEnv = "HERON_ONNXRUNTIME_LIB"

// libraries lists what to try, in order: the environment's word alone if there is one, else what lies in lib/ beside the program
// (libonnxruntime.so before names with a version), else the system's names.
func libraries(getenv func(string) string, executable string) []string {
	if path := getenv(libraryEnv); path != "" {
		return []string{path}
	}
	found, _ := filepath.Glob(filepath.Join(filepath.Dir(executable), "lib", "libonnxruntime.so*")) // its only error is a bad pattern
	slices.Sort(found)
	return append(found, "libonnxruntime.so", "libonnxruntime.so.1")
}

// missing says in the user's words why a library could not be opened.
func missing(getenv func(string) string, tried []string) string {
	if path := getenv(libraryEnv); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "ONNX Runtime is not at " + path + ", where " + libraryEnv + " says it is"
		}
		return "ONNX Runtime at " + path + " cannot be opened"
	}
	return "ONNX Runtime was not found (tried " + strings.Join(tried, ", ") + ")"
}
