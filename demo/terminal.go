package demo

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// The keys.
const (
	keyBroker = 'b'
	keyCover  = 'c'
	keyKill   = 'k'
	keyQuit   = 'q'
)

// openScreen prepares the live view: keys come one by one and unseen until release is called. Without a terminal there are no keys.
func (s *stage) openScreen() (keys <-chan byte, release func(), err error) {
	if !s.o.Interactive {
		return nil, func() {}, nil
	}
	fd := int(s.o.In.Fd())
	before, err := term.MakeRaw(fd)
	if err != nil {
		return nil, nil, fmt.Errorf("demo: use the terminal: %w", err)
	}
	s.screen = screen{out: s.o.Out, colour: !s.o.NoColor, width: func() int { return columns(s.o.Out) }}
	fmt.Fprint(s.o.Out, "\x1b[?25l") // no cursor
	pressed, stop := make(chan byte), make(chan struct{})
	reader := make(chan struct{})
	go func() {
		defer close(reader)
		readKeys(fd, pressed, stop)
	}()
	return pressed, func() {
		close(stop)
		<-reader
		fmt.Fprint(s.o.Out, "\x1b[?25h")
		term.Restore(fd, before)
	}, nil
}

// columns is the width of the terminal that out is.
func columns(out any) int {
	if f, ok := out.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			return w
		}
	}
	return 80
}

// readKeys reads keys until stop; it looks up every tenth of a second, for a read from a terminal cannot be called off.
// Raw mode makes ctrl-c (3) and ctrl-d (4) keys like any other; they and the end of input mean quit.
func readKeys(fd int, pressed chan<- byte, stop <-chan struct{}) {
	for {
		key, err := readKey(fd)
		if key >= 'A' && key <= 'Z' {
			key += 'a' - 'A'
		}
		if err != nil || key == 3 || key == 4 {
			key = keyQuit
		}
		if key != 0 {
			select {
			case pressed <- key:
			case <-stop:
				return
			}
		}
		if err != nil {
			return
		}
		select {
		case <-stop:
			return
		default:
		}
	}
}

// readKey returns the next key, or 0 if there was none for a tenth of a second.
func readKey(fd int) (byte, error) {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 100)
	if errors.Is(err, unix.EINTR) || err == nil && n == 0 {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var b [1]byte
	n, err = unix.Read(fd, b[:])
	if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
		return 0, nil
	}
	if err == nil && n == 0 {
		err = errors.New("end of input")
	}
	return b[0], err
}
