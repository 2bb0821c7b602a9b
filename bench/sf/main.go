// Command sf is Heron's row among the store-and-forward peers: N results are put while the link is down, then the link comes up and a
// subscriber on the far side counts what arrives; a second run kills the store with SIGKILL half-way, a third counts its syncs.
// The keys of the line it prints are those of the peers.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"heron/bench/measure"
	"heron/bench/results"
)

var (
	count  = flag.Int("n", 20_000, "results")
	kill   = flag.Int("nkill", 40_000, "results in the kill run")
	rate   = flag.Int("krate", 2000, "results per second in the kill run")
	work   = flag.String("work", "bench/out", "folder for the disk image")
	window = flag.Int("window", 15_000, "results put and not yet safe; groups hold up to 500 and wait up to 5 s, so a window of 64 would measure the wait")
	store  = flag.String("store", "", "be the store: path of the outbox")
	broker = flag.Int("broker", 0, "the store's broker")
)

func main() {
	flag.Parse()
	if *store != "" {
		measure.Must(serve(*store, *broker))
		return
	}
	f := measure.Figures{"peer": "heron", "variant": "outbox and uplink", "n": *count, "window": *window,
		"record_bytes": measure.Round(float64(results.Bytes(1, *count))/float64(*count), 0)}
	f["outage"] = outage()
	f["kill9"] = killed()
	if s := syncs(); s != nil {
		f["syncs"] = s
	}
	f.Print()
}

// bench is both ends of one run, with the link cut.
type bench struct {
	disk   *measure.Disk
	broker *measure.Broker
	sub    *measure.Subscriber
	link   *measure.Link
	local  *child
}

func setUp() *bench {
	d, err := measure.NewDisk(*work, "sf", 2<<30)
	measure.Must(err)
	b := &bench{disk: d}
	far, err := os.MkdirTemp(*work, "sf-far-")
	measure.Must(err)
	b.broker, err = measure.StartBroker(far)
	measure.Must(err)
	measure.Must(os.RemoveAll(far)) // it has read its configuration
	b.sub, err = measure.Subscribe(b.broker.Port)
	measure.Must(err)
	b.link = measure.NewLink(b.broker.Port)
	b.local = b.start()
	return b
}

func (b *bench) start() *child {
	c, err := startChild(filepath.Join(b.disk.Dir, "outbox.db"), b.link.Port)
	measure.Must(err)
	return c
}

func (b *bench) close() {
	b.local.end(syscall.SIGKILL)
	b.sub.Close()
	b.link.Cut()
	b.broker.Stop()
	b.disk.Close()
}

func (b *bench) fileBytes() int64 {
	info, err := os.Stat(filepath.Join(b.disk.Dir, "outbox.db"))
	measure.Must(err)
	return info.Size()
}

func outage() measure.Figures {
	b := setUp()
	defer b.close()
	pid, n := b.local.PID, float64(*count)
	payload := float64(results.Bytes(1, *count))
	r := measure.Figures{"rss_mb_empty": measure.MemoryOf(pid).Resident}
	disk, cpu, began := b.disk.Written(), measure.CPU(pid), time.Now()
	acked, err := b.local.produce(1, *count, 0, nil)
	if err != nil {
		r["put_error"] = err.Error()
	}
	took := time.Since(began).Seconds()
	r["acked"], r["put_s"], r["put_per_s"] = acked, measure.Round(took, 2), measure.Round(float64(acked)/took, 0)
	r["store_cpu_us_per_put"] = measure.Round((measure.CPU(pid)-cpu)*1e6/n, 1)
	r["disk_per_byte_put"] = measure.Round(float64(b.disk.Written()-disk)/payload, 2)
	r["file_bytes_after_put"], r["peak_rss_mb_put"] = b.fileBytes(), measure.MemoryOf(pid).Peak
	measure.Log("put %d in %.2f s; draining", acked, took)

	began = time.Now()
	measure.Must(b.link.Join())
	b.await(*count)
	a := b.sub.Arrivals()
	r["first_arrival_s"], r["drain_s"] = measure.Round(a.First.Sub(began).Seconds(), 2), measure.Round(a.Last.Sub(began).Seconds(), 2)
	r["drain_per_s"] = measure.Round(float64(a.Distinct)/a.Last.Sub(a.First).Seconds(), 0)
	r["received"], r["distinct"], r["doubled"], r["lost"] = a.Total, a.Distinct, a.Total-a.Distinct, acked-a.Distinct
	time.Sleep(2 * time.Second) // let the store write what it still owes
	c := b.link.Carried()
	r["link_bytes_per_record"], r["link_down_bytes_per_record"] = measure.Round(float64(c.Up+c.Down)/n, 1), measure.Round(float64(c.Down)/n, 2)
	r["link_with_headers_per_record"] = measure.Round(float64(c.WithHeaders())/n, 1)
	r["disk_per_byte_total"] = measure.Round(float64(b.disk.Written()-disk)/payload, 2)
	r["file_bytes_after_drain"], r["peak_rss_mb"] = b.fileBytes(), measure.MemoryOf(pid).Peak
	return r
}

// await returns when n distinct results arrived or nothing arrived for 30 s.
func (b *bench) await(n int) {
	last, since := -1, time.Now()
	for time.Since(since) < 30*time.Second {
		a := b.sub.Arrivals()
		if a.Distinct >= n {
			return
		}
		if a.Total != last {
			last, since = a.Total, time.Now()
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// killed ends the store with SIGKILL when half is safe, starts it again, joins the link and counts safe results that never arrive.
func killed() measure.Figures {
	b := setUp()
	defer b.close()
	began := time.Now()
	half := make(chan struct{}, 1)
	go func() {
		<-half
		b.local.end(syscall.SIGKILL)
	}()
	acked, _ := b.local.produce(1, *kill, *rate, func(safe int) { // ends with the pipe
		if safe >= *kill/2 {
			select {
			case half <- struct{}{}:
			default:
			}
		}
	})
	r := measure.Figures{"acked": acked, "ran_s": measure.Round(time.Since(began).Seconds(), 2)}
	<-b.local.Done()
	began = time.Now()
	b.local = b.start()
	r["restart_s"] = measure.Round(time.Since(began).Seconds(), 2)
	measure.Must(b.link.Join())
	b.await(*kill)
	a := b.sub.Arrivals()
	lost := 0
	for i := 1; i <= acked; i++ {
		if !b.sub.Has(i) {
			lost++
		}
	}
	r["distinct"], r["doubled"], r["lost"] = a.Distinct, a.Total-a.Distinct, lost
	r["lost_last_s"] = measure.Round(float64(lost)/float64(*rate), 2)
	return r
}

// syncs counts the fsync-like calls of the store while 2,000 results come in.
func syncs() measure.Figures {
	const n = 2000
	strace, err := exec.LookPath("strace")
	if err != nil {
		return nil
	}
	b := setUp()
	defer b.close()
	out := filepath.Join(*work, "sf-strace")
	defer os.Remove(out)
	trace, err := measure.Start(os.DevNull, strace, "-f", "-qq", "-o", out, "-e", "trace=fsync,fdatasync,msync,sync_file_range", "-p", fmt.Sprint(b.local.PID))
	measure.Must(err)
	time.Sleep(time.Second)
	_, err = b.local.produce(1, n, 0, nil)
	measure.Must(err)
	trace.End(syscall.SIGINT)
	text, err := os.ReadFile(out)
	measure.Must(err)
	calls := 0
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "sync") && !strings.Contains(line, "resumed") {
			calls++
		}
	}
	return measure.Figures{"records": n, "sync_calls": calls}
}
