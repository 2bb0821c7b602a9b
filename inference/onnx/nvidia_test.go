package onnx

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"heron/inference"
	"heron/inference/enginetest"
)

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// machine is a host of a test's own.
func machine(t *testing.T) (host, string) {
	t.Helper()
	dir := t.TempDir()
	return host{dir + "/dev", dir + "/proc", dir + "/etc"}, dir
}

const rm = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\nGCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n"

func TestHost(t *testing.T) {
	h, dir := machine(t)
	enginetest.CheckRefusal(t, h.reachable(), inference.CodeUnavailable)
	if err := h.reachable(); !errors.Is(err, inference.ErrUnavailable) || !strings.Contains(err.Error(), "shows no NVIDIA GPU") {
		t.Error(err)
	}
	put(t, dir+"/dev/nvidia0", "")
	if err := h.reachable(); err == nil || !strings.Contains(err.Error(), "which driver") {
		t.Error(err)
	}
	put(t, dir+"/proc/driver/nvidia/version", rm)
	put(t, dir+"/proc/driver/nvidia/gpus/0000:01:00.0/information", "Model: \t\t NVIDIA T400 4GB\nIRQ:   \t\t 130\nGPU UUID: \t GPU-1234\n")
	if err := h.reachable(); err != nil || h.driver() != "535.183.01" || strings.Join(h.boards(), "|") != "NVIDIA T400 4GB|GPU-1234" {
		t.Errorf("%v %q %q", err, h.driver(), h.boards())
	}
	if os.Getuid() == 0 {
		return // root may open everything
	}
	if err := os.Chmod(dir+"/dev/nvidia0", 0); err != nil {
		t.Fatal(err)
	}
	if err := h.reachable(); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Error(err)
	}
}

func TestJetson(t *testing.T) {
	h, dir := machine(t)
	put(t, dir+"/dev/nvgpu/igpu0", "")
	put(t, dir+"/etc/nv_tegra_release", "# R36 (release), REVISION: 3.0, GCID: 36191598, BOARD: generic, EABI: aarch64, DATE: Mon May  6 17:34:21 UTC 2024\n")
	put(t, dir+"/proc/device-tree/model", "NVIDIA Jetson Orin Nano Developer Kit\x00")
	if err := h.reachable(); err != nil || h.driver() != "L4T 36.3.0" || strings.Join(h.boards(), "|") != "NVIDIA Jetson Orin Nano Developer Kit" {
		t.Errorf("%v %q %q", err, h.driver(), h.boards())
	}
}

// TestKey: whatever changes, the key does; neighbours cannot be mistaken for each other.
func TestKey(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range []string{key("m", "1.31.1", "535", []string{"T400"}), key("n", "1.31.1", "535", []string{"T400"}), key("m", "1.32.0", "535", []string{"T400"}),
		key("m", "1.31.1", "550", []string{"T400"}), key("m", "1.31.1", "535", []string{"Orin"}), key("m1.31.1", "", "535", []string{"T400"}), key("m", "1.31.1", "535", nil)} {
		if seen[k] || len(k) != 32 {
			t.Errorf("%q", k)
		}
		seen[k] = true
	}
	if key("m", "1", "2", []string{"x"}) != key("m", "1", "2", []string{"x"}) {
		t.Error("the key changes by itself")
	}
}

// TestCacheIsBounded: what was not used for longest goes, in number and in bytes; what is in use stays.
func TestCacheIsBounded(t *testing.T) {
	c, err := newCache(func(string) string { return t.TempDir() })
	if err != nil {
		t.Fatal(err)
	}
	for i, k := range []string{"a", "b", "c", "d"} {
		put(t, filepath.Join(c.root, k, "x.engine"), strings.Repeat("x", 100))
		at := time.Unix(int64(1000+i), 0)
		if err := os.Chtimes(filepath.Join(c.root, k), at, at); err != nil {
			t.Fatal(err)
		}
	}
	left := func() string {
		found, err := filepath.Glob(filepath.Join(c.root, "*"))
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, f := range found {
			names = append(names, filepath.Base(f))
		}
		return strings.Join(names, "")
	}
	for _, step := range []struct {
		keep   string
		most   int64
		models int
		want   string
	}{{"a", 1000, 4, "abcd"}, {"a", 1000, 3, "acd"}, {"a", 250, 3, "ad"}, {"a", 0, 3, "a"}} {
		if err := c.trim(step.keep, step.most, step.models); err != nil || left() != step.want {
			t.Errorf("%+v leaves %s, %v", step, left(), err)
		}
	}
	if dir, err := c.folder("e"); err != nil || left() != "ae" || filepath.Base(dir) != "e" {
		t.Errorf("%s, %s, %v", dir, left(), err)
	}
	put(t, filepath.Join(c.root, "file"), "")
	if _, err := (cache{filepath.Join(c.root, "file")}).folder("x"); err == nil {
		t.Error("made a folder below a file")
	}
}

// TestExplainGPU: the words of ONNX Runtime 1.31.1 without a GPU (all that name a file, 35 and 100 were heard from its wheel for GPUs), and of CUDA as its documentation has them.
func TestExplainGPU(t *testing.T) {
	for words, want := range map[string]struct{ code, says string }{
		"CUDA execution provider is not enabled in this build. ": {inference.CodeUnavailable, "has no CUDA provider"},
		"/onnxruntime_src/onnxruntime/core/session/provider_bridge_ort.cc:2043 onnxruntime::Provider& onnxruntime::ProviderLibrary::Get() [ONNXRuntimeError] : 1 : FAIL : Failed to load library /x/libonnxruntime_providers_cuda.so with error: libcublasLt.so.13: cannot open shared object file: No such file or directory": {inference.CodeUnavailable, "cannot be loaded: libcublasLt.so.13: cannot open"},
		"This session contains graph nodes that are assigned to the default CPU EP, but fallback to CPU EP has been explicitly disabled by the user.":                                                                                                                                                                          {inference.CodeFormat, "would run on the CPU"},
		"Non-zero status code returned while running Conv node. CUDA failure 2: out of memory ; GPU=0":                                                                                                                                                                                                                         {inference.CodeUnavailable, "memory is full"},
		"BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 8388608":                                                                                                                                                                                                                         {inference.CodeUnavailable, "memory is full"},
		"CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version ; GPU=-1":                                                                                                                                                                                                                               {inference.CodeUnavailable, "finds no GPU"},
		"CUDA failure 700: an illegal memory access was encountered":                                                                                                                                                                                                                                                           {inference.CodeUnavailable, "illegal memory access"},
		"Fatal error: x:NoSuch(-1) is not a registered function/op":                                                                                                                                                                                                                                                            {inference.CodeFormat, "NoSuch"},
	} {
		r := providers()[1].explain("1.31.1", errors.New(words))
		enginetest.CheckRefusal(t, r, want.code)
		if !strings.Contains(r.What, want.says) || strings.Contains(r.What, "hostname") || (want.code == inference.CodeUnavailable) != errors.Is(r, inference.ErrUnavailable) {
			t.Errorf("%.60s became %v", words, r)
		}
	}
}
