package measure

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Broker is a Mosquitto of our own on a loopback port.
type Broker struct {
	Port int
	proc *Process
}

// StartBroker starts Mosquitto with its files in dir; nothing is persisted.
func StartBroker(dir string) (*Broker, error) {
	b := &Broker{Port: FreePort()}
	conf := filepath.Join(dir, "mosquitto.conf")
	text := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\npersistence false\nmax_queued_messages 0\nlog_type error\n", b.Port)
	if os.Geteuid() == 0 {
		text += "user root\n"
	}
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return nil, err
	}
	p, err := Start(filepath.Join(dir, "mosquitto.log"), "mosquitto", "-c", conf)
	if err != nil {
		return nil, err
	}
	b.proc = p
	up := Until(10*time.Second, func() bool {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.Port))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	if !up {
		p.End(syscall.SIGKILL)
		return nil, fmt.Errorf("mosquitto did not start; see %s", filepath.Join(dir, "mosquitto.log"))
	}
	return b, nil
}

// Stop ends the broker.
func (b *Broker) Stop() { b.proc.End(syscall.SIGKILL) }

// Process is a program that we started and will end.
type Process struct {
	PID  int
	cmd  *exec.Cmd
	done chan struct{}
}

// Start runs a program with its output in a log; it dies with us.
func Start(log, program string, args ...string) (*Process, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c := exec.Command(program, args...)
	c.Stdout, c.Stderr = f, f
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return started(c)
}

// StartTalking is Start for a program that we talk to over its standard input and output.
func StartTalking(log, program string, args ...string) (*Process, io.WriteCloser, io.Reader, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, nil, nil, err
	}
	defer f.Close()
	outRead, outWrite, err := os.Pipe()
	if err != nil {
		return nil, nil, nil, err
	}
	defer outWrite.Close()
	c := exec.Command(program, args...)
	c.Stdout, c.Stderr = outWrite, f
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := c.StdinPipe()
	if err != nil {
		return nil, nil, nil, err
	}
	p, err := started(c)
	return p, in, outRead, err
}

func started(c *exec.Cmd) (*Process, error) {
	if err := c.Start(); err != nil {
		return nil, err
	}
	p := &Process{c.Process.Pid, c, make(chan struct{})}
	go func() { _ = c.Wait(); close(p.done) }()
	return p, nil
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// End sends a signal and waits; after 20 s it kills.
func (p *Process) End(s syscall.Signal) {
	_ = p.cmd.Process.Signal(s)
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}
