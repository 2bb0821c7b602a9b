package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"heron/bench/measure"
	"heron/bench/results"
	"heron/sync/outbox"
	"heron/sync/uplink"
)

// serve is the store: an outbox with its uplink, told on stdin "from to rate" what to put; it answers on stdout with the number
// of the last result that is safe, then "done".
func serve(path string, port int) error {
	box, err := outbox.New(results.Config(path))
	if err != nil {
		return err
	}
	up, err := uplink.New(uplink.Config{Broker: fmt.Sprintf("mqtt://127.0.0.1:%d", port), Group: "bench", Device: "dev-1"}, box)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 2)
	go func() { ended <- box.Run(ctx) }()
	go func() { ended <- up.Run(ctx) }()
	if err := box.Flush(ctx); err != nil {
		return err
	}
	fmt.Println("ready")
	go func() {
		for {
			var from, to, rate int
			if _, err := fmt.Scan(&from, &to, &rate); err != nil {
				ended <- nil // the parent is gone
				return
			}
			if err := put(ctx, box, from, to, rate); err != nil {
				ended <- err
				return
			}
			fmt.Println("done")
		}
	}()
	return <-ended
}

// put puts results in runs of at most a tenth of a second where there is a rate, and tells what became safe.
func put(ctx context.Context, box *outbox.Outbox, from, to, rate int) error {
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	tell := func(i int) {
		if i%100 == 0 || i == to {
			fmt.Fprintln(out, i)
			out.Flush()
		}
	}
	if rate == 0 {
		return results.Fill(ctx, box, from, to, *window, tell)
	}
	waiting := make(chan *outbox.Receipt, to-from+1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		i := from
		for r := range waiting {
			<-r.Done()
			if r.Err() != nil {
				return
			}
			tell(i)
			i++
		}
	}()
	began := time.Now()
	for i := from; i <= to; i++ {
		if (i-from)%20 == 0 {
			time.Sleep(time.Until(began.Add(time.Duration(i-from) * time.Second / time.Duration(rate))))
		}
		waiting <- box.Put(results.Record(i))
	}
	close(waiting)
	if err := box.Flush(ctx); err != nil {
		return err
	}
	<-done
	return nil
}

// child is a store process of ours.
type child struct {
	*measure.Process
	in  io.WriteCloser
	out *bufio.Scanner
}

func startChild(path string, port int) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p, in, out, err := measure.StartTalking(filepath.Join(*work, "sf-store.log"), self, "-store", path, "-broker", fmt.Sprint(port), "-window", fmt.Sprint(*window))
	if err != nil {
		return nil, err
	}
	c := &child{p, in, bufio.NewScanner(out)}
	if !c.out.Scan() || c.out.Text() != "ready" {
		c.end(syscall.SIGKILL)
		return nil, fmt.Errorf("the store did not start; see sf-store.log")
	}
	return c, nil
}

// produce has results from…to put; safe is told how many are safe so far. It returns that number when all are, or when the store ended.
func (c *child) produce(from, to, rate int, safe func(int)) (acked int, err error) {
	if _, err := fmt.Fprintln(c.in, from, to, rate); err != nil {
		return 0, err
	}
	for c.out.Scan() {
		if c.out.Text() == "done" {
			return acked, nil
		}
		if _, err := fmt.Sscan(c.out.Text(), &acked); err != nil {
			return acked, fmt.Errorf("the store said %q", c.out.Text())
		}
		if safe != nil {
			safe(acked)
		}
	}
	return acked, fmt.Errorf("the store ended")
}

func (c *child) end(s syscall.Signal) { c.End(s) }
