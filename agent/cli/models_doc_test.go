package cli

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"heron/internal/freeport"
)

var shellBlocks = regexp.MustCompile("(?ms)^```sh\n(.*?)^```")

// TestModelsPageFromAnEmptyFolder runs the commands of docs/operations/models.md as they stand, in a folder with nothing in it.
func TestModelsPageFromAnEmptyFolder(t *testing.T) {
	slow(t)
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, need := range []string{filepath.Join(root, "bin/heron"), filepath.Join(root, "bin/heron-vision")} {
		if _, err := os.Stat(need); err != nil {
			t.Skipf("%v; `make build` makes it", err)
		}
	}
	if out, err := exec.Command(filepath.Join(root, "bin/heron-vision"), "--version").CombinedOutput(); err != nil {
		t.Skipf("heron-vision does not run here: %v %s", err, out)
	}
	if out, _ := exec.Command(filepath.Join(root, "bin/heron"), "accel", "list").CombinedOutput(); !regexp.MustCompile(`(?m)^onnx .*(usable|in use)`).Match(out) {
		t.Skipf("ONNX Runtime is not usable here; `make setup` brings it:\n%s", out)
	}
	newMosquitto(t) // or skips
	page, err := os.ReadFile("../../docs/operations/models.md")
	if err != nil {
		t.Fatal(err)
	}
	t.Parallel()
	var script strings.Builder
	for _, b := range shellBlocks.FindAllStringSubmatch(string(page), -1) {
		script.WriteString(b[1])
	}
	out, took := runPage(t, root, script.String())
	for _, want := range []string{"(50%) is good: 1 selected, 1 confirmed", "done: 2 selected, 2 confirmed", "\nbottles@1.1.0\nbottles@1.1.0\n", "runs bottles@1.1.0 on onnx"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	t.Logf("from an empty folder to two devices with the new model in %.0f s", took.Seconds())
	if took > 5*time.Minute {
		t.Errorf("it took %v", took)
	}
}

// runPage runs the page's commands in a process group of their own, which ends with the test.
func runPage(t *testing.T, root, script string) (string, time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "bash", "-c", script)
	c.Dir, c.SysProcAttr, c.WaitDelay = t.TempDir(), &syscall.SysProcAttr{Setpgid: true}, 5*time.Second
	c.Env = append(os.Environ(), "HERON="+root)
	for _, name := range []string{"BROKER", "REPO", "PAGE1", "PAGE2"} {
		_, port, err := net.SplitHostPort(freeport.Address(t))
		if err != nil {
			t.Fatal(err)
		}
		c.Env = append(c.Env, name+"="+port)
	}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	began := time.Now()
	err := c.Run()
	took := time.Since(began)
	_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL) // nobody is left, if all went well
	if err != nil {
		logs, _ := exec.Command("tail", "-n", "5", c.Dir+"/dev-1/log", c.Dir+"/dev-2/log", c.Dir+"/repository.log", c.Dir+"/broker.log").CombinedOutput()
		t.Fatalf("after %v: %v\n%s\n%s", took, err, out.String(), logs)
	}
	return out.String(), took
}
