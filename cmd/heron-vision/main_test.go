package main

import (
	"bytes"
	"context"
	"flag"
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"heron/inference"
	"heron/inference/openvino"
	"heron/vision"
)

// The test binary is heron-vision too.
func TestMain(m *testing.M) {
	if os.Getenv("HERON_VISION_TEST") != "" {
		main()
	}
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil { // most of them wait for what hangs
		panic(err)
	}
	os.Exit(m.Run())
}

// What a configuration may name is what this program knows, no more and no less.
func TestConfigurationsMayNameEveryEngine(t *testing.T) {
	known := slices.Sorted(slices.Values(inference.Engines()))
	if has := slices.Sorted(maps.Keys(openers(openvino.New(openvino.Config{})))); !slices.Equal(has, known) {
		t.Errorf("this program has %q, inference.Engines %q", has, known)
	}
}

func TestSaysWhatItIs(t *testing.T) {
	for arg, want := range map[string]string{"--version": "heron-vision " + version + " (protocol 1)\ncameras: replay", "--help": "there is nothing to run by hand"} {
		var out, errs bytes.Buffer
		if code := run([]string{arg}, &out, &errs); code != 0 || !strings.Contains(out.String(), want) || errs.Len() != 0 {
			t.Errorf("%s: %d, %q, %q", arg, code, out.String(), errs.String())
		}
	}
	var out, errs bytes.Buffer
	if code := run([]string{"--serve"}, &out, &errs); code != 2 || !strings.Contains(errs.String(), `unknown argument "--serve"`) {
		t.Errorf("unknown argument: %d, %q", code, errs.String())
	}
}

// byHand starts this binary as heron-vision without a connection that is any good.
func byHand(t *testing.T, stdin *os.File, env ...string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), "HERON_VISION_TEST=1"), env...)
	cmd.Stdin = stdin
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 2 || bytes.Count(out, []byte("\n")) != 1 {
		t.Errorf("%v: %v, %q; want one line and exit code 2", env, err, out)
	}
	return string(out)
}

func TestByHandItSaysOneClearLine(t *testing.T) {
	listener, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	f, err := listener.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, c := range []struct {
		stdin *os.File
		env   []string
		want  string
	}{
		{nil, nil, "use heron run, heron classify or heron demo"},
		{nil, []string{"LISTEN_FDS=1"}, "no connection to serve"},
		{nil, []string{"LISTEN_FDS=2"}, "want one connection"},
		{nil, []string{"LISTEN_FDS=1", "LISTEN_PID=1"}, "for another process"},
		{f, nil, "set Accept=yes"},
	} {
		if got := byHand(t, c.stdin, c.env...); !strings.Contains(got, c.want) {
			t.Errorf("%v: %q, want %q", c.env, got, c.want)
		}
	}
}

// The real program, spawned as heron does it: it says hello, has nothing to load, and goes with its connection.
func TestServesTheInheritedConnection(t *testing.T) {
	c, err := vision.NewClient(vision.ClientConfig{Command: []string{os.Args[0]}, Env: []string{"HERON_VISION_TEST=1"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	if err := c.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	if s := c.Stats(); s.Version != version || len(s.Engines) != 1 || s.Engines[0].Engine != "scripted" /* the hello opens no library */ {
		t.Errorf("stats: %+v", s)
	}
	cancel()
	if err := <-done; err != context.Canceled {
		t.Errorf("Run: %v", err)
	}
}

func TestServesStandardInput(t *testing.T) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: t.TempDir() + "/s", Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ended := make(chan error, 1)
	go func() {
		conn, err := l.AcceptUnix()
		if err != nil {
			ended <- err
			return
		}
		f, err := conn.File()
		conn.Close()
		if err != nil {
			ended <- err
			return
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env, cmd.Stdin = append(os.Environ(), "HERON_VISION_TEST=1"), f
		err = cmd.Start()
		f.Close()
		if err == nil {
			err = cmd.Wait()
		}
		ended <- err
	}()
	c, err := vision.NewClient(vision.ClientConfig{Socket: l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	if err := c.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-done
	if err := <-ended; err != nil {
		t.Errorf("the process ended with %v; want exit code 0 at the end of the connection", err)
	}
}
