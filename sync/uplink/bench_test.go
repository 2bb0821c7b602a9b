package uplink

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"heron/sync/message"
	"heron/sync/outbox"
)

// opened is a real outbox in a folder of the test's, running until the test ends.
func opened(t testing.TB, seal int) (*outbox.Outbox, func()) {
	t.Helper()
	o, err := outbox.New(outbox.Config{Path: filepath.Join(t.TempDir(), "outbox.db"), SealRecords: seal,
		Header: func() message.Header {
			return message.Header{Group: "acme", Device: "dev-1", Boot: "3f9ac1", Agent: "1.0.0", ConfigRev: 4}
		}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- o.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("outbox: %v", err)
		}
	})
	t.Cleanup(stop)
	return o, stop
}

// fill puts n results and waits until they are on the disk.
func fill(t testing.TB, o *outbox.Outbox, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for i := range n {
		o.Put(result(uint64(i)))
		if i%20000 == 19999 {
			if err := o.Flush(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := o.Flush(ctx); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkDrain is the drain of results from a real outbox to a real Mosquitto:
//
//	N=1000000 go test -bench Drain -benchtime 1x -run '^$' ./sync/uplink
func BenchmarkDrain(b *testing.B) {
	n := 100_000
	if s, err := strconv.Atoi(os.Getenv("N")); err == nil {
		n = s
	}
	for _, compress := range []string{CompressNone, CompressZstd} {
		b.Run(compress, func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				m := newMosquitto(b, "")
				o, stop := opened(b, 500)
				fill(b, o, n)
				conf := config("mqtt://" + m.address)
				conf.Compress, conf.KeepAlive = compress, 0
				before, most := anonymous(), 0.0
				b.StartTimer()
				start := time.Now()
				u := run(b, conf, o, func(t *timing) { *t = defaultTiming() })
				for o.Stats().Acked < uint64(n) {
					time.Sleep(5 * time.Millisecond)
					most = max(most, anonymous())
				}
				took := time.Since(start)
				b.StopTimer()
				s := u.Stats()
				if s.Lost > 0 || s.AckedRecords != uint64(n) {
					b.Fatalf("%+v", s)
				}
				b.ReportMetric(float64(n)/took.Seconds(), "results/s")
				b.ReportMetric(most-before, "MB-more")
				b.ReportMetric(most, "MB-anon")
				u.end()
				stop()
			}
		})
	}
}

// anonymous is the process's memory that is no mapped file, in MB.
func anonymous() float64 {
	b, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kb, _ := strconv.Atoi(strings.Fields(v)[0])
			return float64(kb) * 1024 / 1e6
		}
	}
	return 0
}

// BenchmarkLink is what a result costs on the link, from TCP_INFO: payload both ways and 52 bytes of headers for each segment.
func BenchmarkLink(b *testing.B) {
	const n = 20_000
	for _, compress := range []string{CompressNone, CompressZstd} {
		b.Run(compress, func(b *testing.B) {
			for range b.N {
				m := newMosquitto(b, "")
				o, stop := opened(b, 100)
				fill(b, o, n)
				conf := config("mqtt://" + m.address)
				conf.Compress, conf.KeepAlive = compress, 0
				r := run(b, conf, slowStart{o})
				r.state(StateOnline)
				fd := connectedTo(b, m.address)
				first := info(b, fd)
				for o.Stats().Acked < n {
					time.Sleep(5 * time.Millisecond)
				}
				last := info(b, fd)
				bytes := float64(last.Bytes_acked-first.Bytes_acked) + float64(last.Bytes_received-first.Bytes_received)
				segments := float64(last.Segs_out-first.Segs_out) + float64(last.Segs_in-first.Segs_in)
				b.ReportMetric(bytes/n, "payload-B/result")
				b.ReportMetric((bytes+52*segments)/n, "link-B/result")
				r.end()
				stop()
			}
		})
	}
}

// slowStart gives the benchmark a moment between the birth and the first group.
type slowStart struct{ *outbox.Outbox }

func (s slowStart) Link(up bool) {
	if up {
		time.Sleep(200 * time.Millisecond)
	}
	s.Outbox.Link(up)
}

// connectedTo finds this process's socket to an address.
func connectedTo(t testing.TB, address string) int {
	t.Helper()
	_, port, _ := strings.Cut(address, ":")
	fds, _ := os.ReadDir("/proc/self/fd")
	for _, e := range fds {
		fd, _ := strconv.Atoi(e.Name())
		if peer, err := unix.Getpeername(fd); err == nil {
			if v4, ok := peer.(*unix.SockaddrInet4); ok && strconv.Itoa(v4.Port) == port {
				return fd
			}
		}
	}
	t.Fatalf("no socket to %s", address)
	return -1
}

func info(t testing.TB, fd int) *unix.TCPInfo {
	t.Helper()
	v, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// The real outbox, a subscriber, and a link that comes and goes: every number that was sealed arrives, or a gap names it.
func TestRealOutboxThroughOutages(t *testing.T) {
	p, _, l := through(t)
	o, stop := opened(t, 50)
	u := run(t, config("mqtt://"+p.address), o)
	u.state(StateOnline)
	for i := range 5 {
		for k := range 500 {
			o.Put(result(uint64(i*500 + k)))
		}
		p.close()
		for k := range 200 {
			o.Put(result(uint64(i*200 + k)))
		}
		time.Sleep(50 * time.Millisecond)
		p.open()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := o.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if err := o.Drained(ctx); err != nil {
		t.Fatalf("%v: %+v, %+v", err, o.Stats(), u.Stats())
	}
	eventually(t, fmt.Sprintf("3,500 records, %d so far", l.count()), func() bool { return l.count() >= 3500 })
	for seq := range o.Stats().NextSeq {
		if l.records[seq+1] == nil && seq+1 < o.Stats().NextSeq {
			t.Errorf("record %d did not arrive", seq+1)
		}
	}
	u.end()
	stop()
}
