package openvino

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"heron/inference"
)

// libraries lists what to try, in order: the environment's word alone if there is one (a file, or a folder that holds it), else what lies
// below lib/ beside the program, else the system's. The files are named by version only (libopenvino_c.so.2641), hence the patterns.
func (c *Config) libraries(d device) []string {
	if word := c.Getenv(d.env); word != "" {
		if found := newestFirst(filepath.Join(word, "libopenvino_c.so*")); len(found) > 0 {
			return found
		}
		return []string{word}
	}
	out := newestFirst(filepath.Join(filepath.Dir(c.Executable), "lib", d.folder, "libopenvino_c.so*"))
	if d.engine == Myriad {
		return out // the system's is a current one, which does not know the stick
	}
	for _, dir := range []string{"/usr/local/lib", "/usr/lib/*-linux-gnu", "/usr/lib64", "/opt/intel/openvino/runtime/lib/*"} {
		out = append(out, newestFirst(filepath.Join(dir, "libopenvino_c.so*"))...)
	}
	return append(out, "libopenvino_c.so")
}

func newestFirst(pattern string) []string {
	found, _ := filepath.Glob(pattern) // its only error is a bad pattern
	slices.SortFunc(found, func(a, b string) int {
		if n := len(b) - len(a); n != 0 {
			return n
		}
		return strings.Compare(b, a)
	})
	return found
}

// missing says in the user's words why there is no library.
func (c *Config) missing(d device, tried []string, why error) error {
	r := &inference.Refusal{Code: inference.CodeUnavailable, Err: inference.ErrUnavailable,
		NextStep: "run make setup, or set " + d.env + " to libopenvino_c.so of OpenVINO 2024.3 or newer"}
	if d.engine == Myriad {
		r.NextStep = "unpack Intel's archive of OpenVINO 2022.3.1 (no package has its stick driver) and set " + d.env + " to its libopenvino_c.so"
	}
	if why != nil {
		r.Err = fmt.Errorf("%w: %w", inference.ErrUnavailable, why)
	}
	word := c.Getenv(d.env)
	_, err := os.Stat(word)
	switch {
	case strings.Contains(fmt.Sprint(why), builtWithout):
		r.What, r.NextStep = "this heron-vision was "+builtWithout, "build it with a C compiler: make build"
	case word == "" && d.engine == Myriad && len(tried) == 0:
		r.What = "the Neural Compute Stick needs OpenVINO 2022.3.1, and " + d.env + " names none"
	case word == "":
		r.What = fmt.Sprintf("OpenVINO was not found (tried %s): %s", strings.Join(tried, ", "), plain(fmt.Sprint(why)))
	case err != nil:
		r.What = fmt.Sprintf("OpenVINO is not at %s, where %s says it is", word, d.env)
	default:
		r.What = fmt.Sprintf("OpenVINO at %s cannot be opened: %s", word, plain(fmt.Sprint(why)))
	}
	return r
}

// builtWithout is how the stub's reason is known.
const builtWithout = "built without cgo, which OpenVINO needs"
