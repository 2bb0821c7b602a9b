package outbox

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"heron/sync/message"
)

// device counts the bytes written to the block device under a folder: the whole device's, journal included, so only an idle machine gives a true figure.
type device struct {
	dir, name string
}

func deviceOf(b *testing.B, dir string) device {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		b.Fatal(err)
	}
	dev := uint64(st.Dev)
	stats, _ := os.ReadFile("/proc/diskstats")
	for line := range strings.Lines(string(stats)) {
		f := strings.Fields(line)
		if len(f) > 9 && f[0] == fmt.Sprint(unix.Major(dev)) && f[1] == fmt.Sprint(unix.Minor(dev)) {
			return device{dir, f[2]}
		}
	}
	return device{dir, ""}
}

func (d device) written(b *testing.B) (n uint64) {
	f, err := os.Open(d.dir)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	_ = unix.Syncfs(int(f.Fd()))
	stats, _ := os.ReadFile("/proc/diskstats")
	for line := range strings.Lines(string(stats)) {
		if w := strings.Fields(line); len(w) > 9 && w[2] == d.name {
			var sectors uint64
			fmt.Sscan(w[9], &sectors)
			n = sectors * 512
		}
	}
	return n
}

// report tells bytes written per byte of payload, on the device if it is known.
func (d device) report(b *testing.B, before, file uint64, payload int64, what string) {
	if d.name != "" {
		b.ReportMetric(float64(d.written(b)-before)/float64(payload), what+"-dev-B/B")
	}
	b.ReportMetric(float64(file)/float64(payload), what+"-file-B/B")
}

// putAll puts n results and lets no more than a few groups wait.
func putAll(o *Outbox, n int) (payload int64) {
	var waiting []*Receipt
	var buf []byte
	for i := range n {
		r := result(i)
		buf = r.AppendJSON(buf[:0])
		payload += int64(len(buf))
		c := o.Put(r)
		if len(waiting) == 0 || waiting[len(waiting)-1] != c {
			waiting = append(waiting, c)
		}
		if len(waiting) > 8 {
			<-waiting[0].Done()
			waiting = waiting[1:]
		}
	}
	_ = o.Flush(context.Background())
	return payload
}

func drainAll(b *testing.B, o *Outbox) {
	o.Link(true)
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Minute)
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			g, err := o.Next(ctx, false)
			if err != nil {
				return
			}
			o.Ack(g.ID)
		}
	})
	if err := o.Drained(ctx); err != nil {
		b.Error(err)
	}
	stop()
	wg.Wait()
}

func BenchmarkPut(b *testing.B) {
	x := start(b, config(b.TempDir()))
	b.ReportAllocs()
	b.ResetTimer()
	payload := putAll(x.Outbox, b.N)
	b.SetBytes(payload / int64(b.N))
}

// BenchmarkMillion puts 1,000,000 results without a link and drains them: bytes written per byte of payload, results a second, memory.
// Run it with -benchtime 1x on the disk to be measured (TMPDIR) while nothing else writes to it.
func BenchmarkMillion(b *testing.B) {
	const n = 1_000_000
	for b.Loop() {
		dir := b.TempDir()
		d := deviceOf(b, dir)
		x := start(b, config(dir))
		x.until("open", func(s Stats) bool { return s.State == stateOK })
		before, file := d.written(b), x.Stats().Written
		begun := time.Now()
		payload := putAll(x.Outbox, n)
		b.ReportMetric(n/time.Since(begun).Seconds(), "put/s")
		d.report(b, before, x.Stats().Written-file, payload, "put")
		m := watchMemory()
		begun = time.Now()
		drainAll(b, x.Outbox)
		b.ReportMetric(n/time.Since(begun).Seconds(), "drain/s")
		low, high := m.stop()
		b.ReportMetric(low, "drain-rss-low-MB")
		b.ReportMetric(high, "drain-rss-high-MB")
		if err := x.stop(); err != nil {
			b.Fatal(err)
		}
		s := x.Stats()
		d.report(b, before, s.Written-file, payload, "put+drain")
		b.ReportMetric(float64(s.Commits), "commits")
		b.ReportMetric(float64(s.FileBytes)/float64(payload), "file/payload")
	}
}

// BenchmarkMillionRawBbolt is the same in the layout most people write: a key a record, 100 records a transaction, bbolt as it comes.
func BenchmarkMillionRawBbolt(b *testing.B) {
	const n, batch = 1_000_000, 100
	for b.Loop() {
		dir := b.TempDir()
		d := deviceOf(b, dir)
		db, err := bbolt.Open(filepath.Join(dir, "raw.db"), 0o600, nil)
		if err != nil {
			b.Fatal(err)
		}
		name, payload, file := []byte("q"), int64(0), uint64(0)
		update := func(fn func(*bbolt.Bucket) error) {
			tx, err := db.Begin(true)
			if err != nil {
				b.Fatal(err)
			}
			q, err := tx.CreateBucketIfNotExists(name)
			if err == nil {
				err = fn(q)
			}
			if err == nil {
				err = tx.Commit()
			}
			if err != nil {
				b.Fatal(err)
			}
			st := tx.Stats()
			file += uint64(st.GetPageAlloc()) + 4096
		}
		before := d.written(b)
		for i := 0; i < n; i += batch {
			update(func(q *bbolt.Bucket) error {
				for j := range batch {
					v := result(i + j).AppendJSON(nil)
					payload += int64(len(v))
					if err := q.Put(binary.BigEndian.AppendUint64(nil, uint64(i+j)), v); err != nil {
						return err
					}
				}
				return nil
			})
		}
		d.report(b, before, file, payload, "put")
		for i := 0; i < n; i += batch {
			update(func(q *bbolt.Bucket) error {
				for j := range batch {
					if err := q.Delete(binary.BigEndian.AppendUint64(nil, uint64(i+j))); err != nil {
						return err
					}
				}
				return nil
			})
		}
		d.report(b, before, file, payload, "put+drain")
		db.Close()
	}
}

// memoryWatch takes the process's resident memory every few milliseconds.
type memoryWatch struct {
	end       chan struct{}
	done      sync.WaitGroup
	low, high float64
}

func watchMemory() *memoryWatch {
	runtime.GC()
	m := &memoryWatch{end: make(chan struct{}), low: 1e9}
	m.done.Go(func() {
		for {
			rss := residentMB()
			m.low, m.high = min(m.low, rss), max(m.high, rss)
			select {
			case <-m.end:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	return m
}

func (m *memoryWatch) stop() (low, high float64) {
	close(m.end)
	m.done.Wait()
	return m.low, m.high
}

func residentMB() float64 {
	b, _ := os.ReadFile("/proc/self/statm")
	var size, resident float64
	fmt.Sscan(string(b), &size, &resident)
	return resident * float64(os.Getpagesize()) / (1 << 20)
}

// BenchmarkOpen opens a file with 1,000,000 results waiting.
func BenchmarkOpen(b *testing.B) {
	cfg := config(b.TempDir())
	x := start(b, cfg)
	putAll(x.Outbox, 1_000_000)
	if err := x.stop(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		y := start(b, cfg)
		if _, err := y.Session(context.Background()); err != nil {
			b.Fatal(err)
		}
		y.stop()
	}
}

// BenchmarkSeal is the cost of a group of 446 results: encode and compress.
func BenchmarkSeal(b *testing.B) {
	var p press
	if err := p.open(); err != nil {
		b.Fatal(err)
	}
	bs := batches{}
	cfg, _ := config(b.TempDir()).withDefaults()
	for i := 0; bs.ready.len() == 0; i++ {
		bs.add(&cfg, result(i), time.Now())
	}
	one := bs.ready.front()
	var size int
	for b.Loop() {
		size = len(p.group(message.Header{}, one, 1, time.Now()).body)
	}
	b.ReportMetric(float64(size)/float64(len(one.ends)), "B/result")
	b.ReportMetric(float64(len(one.ends)), "results")
}
