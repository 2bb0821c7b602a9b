// Command drain fills an outbox with results, starts heron run on it beside a local Mosquitto, and measures how fast the backlog
// is delivered and how much memory that takes.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"heron/bench/measure"
	"heron/bench/results"
	"heron/sync/outbox"
)

var (
	heron    = flag.String("heron", "bin/heron", "heron")
	bundle   = flag.String("bundle", "bench/out/bundle", "model bundle")
	video    = flag.String("video", "bench/out/frames.avi", "film")
	work     = flag.String("work", "bench/out", "folder for the outbox")
	count    = flag.Int("n", 1_000_000, "results")
	compress = flag.String("compress", "none", "none or zstd")
	listen   = flag.Bool("subscriber", false, "a subscriber counts what arrives, on the same cores")
)

func main() {
	flag.Parse()
	for _, p := range []*string{heron, bundle, video, work} {
		abs, err := filepath.Abs(*p)
		measure.Must(err)
		*p = abs
	}
	dir, err := os.MkdirTemp(*work, "drain-")
	measure.Must(err)
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "outbox.db")
	fill(path)
	broker, err := measure.StartBroker(dir)
	measure.Must(err)
	defer broker.Stop()
	f := measure.Figures{"figure": "drain", "n": *count, "compress": *compress, "subscriber": *listen}
	run(f, dir, path, broker.Port)
	f.Print()
}

func fill(path string) {
	box, err := outbox.New(results.Config(path))
	measure.Must(err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- box.Run(ctx) }()
	measure.Must(results.Fill(ctx, box, 1, *count, 15_000, nil))
	cancel()
	measure.Must(<-ended)
	measure.Log("filled with %d results", *count)
}

// run starts the service with the link cut, lets it open the file, joins the link and watches.
func run(f measure.Figures, dir, path string, port int) {
	var sub *measure.Subscriber
	if *listen {
		var err error
		sub, err = measure.Subscribe(port)
		measure.Must(err)
		defer sub.Close()
	}
	link := measure.NewLink(port)
	h, err := measure.StartHeron(measure.Service{
		Program: *heron, Dir: dir, Outbox: path, Broker: link.Port, Source: "file:" + *video + "?loop=true", Bundle: *bundle, FPS: 1, Compress: *compress,
	})
	measure.Must(err)
	defer h.End(syscall.SIGTERM)
	opened := measure.Until(time.Minute, func() bool {
		s, err := h.Status()
		return err == nil && s.Outbox.State == "ok" && s.Outbox.Records >= int64(*count)
	})
	if !opened {
		s, err := h.Status()
		measure.Must(fmt.Errorf("the outbox did not open with its backlog: %+v %w %s", s.Outbox, err, h.Tail()))
	}
	waiting := measure.MemoryOf(h.PID)
	measure.Must(link.Join())
	defer link.Cut()

	var curve []sample
	var first, last time.Time
	var firstAcked, acked uint64
	for end := time.Now().Add(10 * time.Minute); time.Now().Before(end) && acked < uint64(*count); time.Sleep(50 * time.Millisecond) {
		s, err := h.Status()
		measure.Must(err)
		if s.Outbox.Acked > 0 && first.IsZero() {
			first, firstAcked = time.Now(), s.Outbox.Acked
		}
		if acked, last = s.Outbox.Acked, time.Now(); !first.IsZero() {
			curve = append(curve, sample{last.Sub(first).Seconds(), measure.MemoryOf(h.PID)})
		}
	}
	if acked < uint64(*count) {
		measure.Must(fmt.Errorf("only %d of %d were delivered: %s", acked, *count, h.Tail()))
	}
	f["drain_s"] = measure.Round(last.Sub(first).Seconds(), 2)
	f["drain_per_s"] = measure.Round(float64(acked-firstAcked)/last.Sub(first).Seconds(), 0)
	f["rss_mb_waiting"], f["anon_mb_waiting"] = waiting.Resident, waiting.Anonymous
	describe(f, curve)
	if sub != nil {
		measure.Until(time.Minute, func() bool { return sub.Arrivals().Distinct >= *count })
		f["arrived"], f["distinct"] = sub.Arrivals().Total, sub.Arrivals().Distinct
	}
}

// sample is the memory at a time after the first acknowledgement.
type sample struct {
	at float64
	measure.Memory
}

// describe sums the memory curve up: anonymous memory is what heron asked for; the rest of what is resident is the mapped file.
func describe(f measure.Figures, curve []sample) {
	anon := func(a, b sample) int { return int(1000 * (a.Anonymous - b.Anonymous)) }
	res := func(a, b sample) int { return int(1000 * (a.Resident - b.Resident)) }
	f["anon_mb_min"], f["anon_mb_max"] = slices.MinFunc(curve, anon).Anonymous, slices.MaxFunc(curve, anon).Anonymous
	f["rss_mb_min"], f["rss_mb_max"] = slices.MinFunc(curve, res).Resident, slices.MaxFunc(curve, res).Resident
	var points [][2]float64
	for i := 0; i < len(curve); i += max(1, len(curve)/20) {
		points = append(points, [2]float64{measure.Round(curve[i].at, 2), curve[i].Anonymous})
	}
	f["anon_mb_curve"] = points
}
