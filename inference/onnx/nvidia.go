package onnx

import (
	"cmp"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"heron/inference"
)

// host is where Linux shows an NVIDIA GPU. HERON_DEV, HERON_PROC and HERON_ETC move its folders, for tests.
type host struct{ dev, proc, etc string }

func hostOf(getenv func(string) string) host {
	return host{cmp.Or(getenv("HERON_DEV"), "/dev"), cmp.Or(getenv("HERON_PROC"), "/proc"), cmp.Or(getenv("HERON_ETC"), "/etc")}
}

// nodes are the files of the GPUs: cards, and the one inside a Jetson by its two drivers' names.
func (h host) nodes() []string {
	var out []string
	for _, pattern := range []string{"nvidia[0-9]*", "nvhost-gpu", "nvgpu/igpu*"} {
		found, _ := filepath.Glob(filepath.Join(h.dev, pattern)) // its only error is a bad pattern
		out = append(out, found...)
	}
	return out
}

var (
	driverVersion = regexp.MustCompile(`\b\d{3}\.\d+(\.\d+)?\b`)
	tegraRelease  = regexp.MustCompile(`R(\d+) \(release\), REVISION: ([0-9.]+)`)
)

// driver is the version of the kernel's driver: of the proprietary one, else of JetPack's; empty where neither says.
func (h host) driver() string {
	b, _ := os.ReadFile(filepath.Join(h.proc, "driver/nvidia/version")) // absence is a state here
	if v := driverVersion.FindString(string(b)); v != "" {
		return v
	}
	b, _ = os.ReadFile(filepath.Join(h.etc, "nv_tegra_release"))
	if m := tegraRelease.FindStringSubmatch(string(b)); m != nil {
		return "L4T " + m[1] + "." + m[2]
	}
	return ""
}

// boards names the GPUs, for the key of what was compiled for them: model and UUID of each card, else the board that they are part of.
func (h host) boards() []string {
	var out []string
	cards, _ := filepath.Glob(filepath.Join(h.proc, "driver/nvidia/gpus/*/information"))
	for _, c := range cards {
		b, _ := os.ReadFile(c)
		for line := range strings.Lines(string(b)) {
			if key, v, ok := strings.Cut(line, ":"); ok && (strings.TrimSpace(key) == "Model" || strings.TrimSpace(key) == "GPU UUID") {
				out = append(out, strings.TrimSpace(v))
			}
		}
	}
	if b, err := os.ReadFile(filepath.Join(h.proc, "device-tree/model")); err == nil && len(out) == 0 {
		out = append(out, strings.Trim(string(b), "\x00\n"))
	}
	return out
}

// reachable says why no GPU can be used by anyone, or not by this user.
func (h host) reachable() error {
	nodes := h.nodes()
	if len(nodes) == 0 {
		return inference.Unavailable("use another engine, or install NVIDIA's driver where there is a GPU", "the kernel shows no NVIDIA GPU (there is no %s/nvidia0, and no nvhost-gpu or nvgpu of a Jetson)", h.dev)
	}
	if h.driver() == "" {
		return inference.Unavailable("install NVIDIA's driver, or JetPack", "%s is there, and neither %s/driver/nvidia/version nor %s/nv_tegra_release says which driver", nodes[0], h.proc, h.etc)
	}
	var why error
	if !slices.ContainsFunc(nodes, func(n string) bool {
		f, err := os.OpenFile(n, os.O_RDWR, 0)
		if err != nil {
			why = err
			return false
		}
		return f.Close() == nil
	}) {
		return inference.Unavailable("add the user to the group of that file (video), and allow it in heron-vision's unit", "the GPU may not be used: %v", why)
	}
	return nil
}
