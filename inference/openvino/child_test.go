//go:build cgo && linux

package openvino

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"
)

// child is this test as a process of its own, which infers and prints a line for each answer.
type child struct {
	cmd   *exec.Cmd
	lines chan string
}

const childEnv = "HERON_OPENVINO_TEST_CHILD"

func startChild(t *testing.T, m machine) *child {
	t.Helper()
	c := &child{exec.Command(os.Args[0], "-test.run=^TestChild$"), make(chan string, 1)}
	c.cmd.Env = append(os.Environ(), childEnv+"="+m.dir)
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.cmd.Process.Kill() }) // it may have ended
	go func() {                                    // ends with the child
		defer close(c.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			select {
			case c.lines <- s.Text():
			default:
			}
		}
	}()
	return c
}

func (c *child) answers(t *testing.T) {
	t.Helper()
	select {
	case line, ok := <-c.lines:
		if !ok || line != "answer" {
			t.Fatalf("the child says %q", line)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the child says nothing")
	}
}

// silent waits until no answer comes any more.
func (c *child) silent(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		select {
		case <-c.lines:
		case <-time.After(500 * time.Millisecond):
			return
		}
	}
	t.Fatal("the child goes on answering")
}

func (c *child) kill() error {
	_ = c.cmd.Process.Kill() // it may have ended
	for range c.lines {
	}
	return c.cmd.Wait()
}

func (c *child) wait(t *testing.T) error {
	t.Helper()
	timer := time.AfterFunc(30*time.Second, func() { _ = c.cmd.Process.Kill() })
	defer timer.Stop()
	for range c.lines {
	}
	return c.cmd.Wait()
}

func TestChild(t *testing.T) {
	dir := os.Getenv(childEnv)
	if dir == "" {
		t.Skip("a part of TestFault_A4_A5, in a process of its own")
	}
	e, err := machine{dir}.runtime().Openers()[Myriad](t.Context(), stickModel())
	if err != nil {
		t.Fatal(err)
	}
	for range 6000 { // a minute: nobody is left behind for ever
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if err := e.Run(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
		fmt.Println("answer")
		time.Sleep(10 * time.Millisecond)
	}
}
