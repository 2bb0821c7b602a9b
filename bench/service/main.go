// Command service measures heron run from outside, as a device runs it: how soon the first result is published, what an hour writes
// to the disk with and without a link, what a result costs on the link, and how much memory both processes hold.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"heron/bench/measure"
	"heron/demo/line"
)

var (
	heron  = flag.String("heron", "bin/heron", "heron")
	bundle = flag.String("bundle", "bench/out/bundle", "model bundle of the starts")
	demo   = flag.String("demo", "demo/bundle", "model bundle of the steady runs, which look at the demo's bottling line")
	video  = flag.String("video", "bench/out/frames.avi", "film")
	work   = flag.String("work", "bench/out", "folder for disk images and logs")
	length = flag.Duration("length", 3*time.Minute, "of the steady runs")
	starts = flag.Int("starts", 7, "warm starts")
)

func main() {
	flag.Parse()
	for _, p := range []*string{heron, bundle, demo, video, work} {
		abs, err := filepath.Abs(*p)
		measure.Must(err)
		*p = abs
	}
	startToFirst()
	steady()
}

// startToFirst is the time from before exec to the arrival of the first result at a subscriber.
func startToFirst() {
	dir, err := os.MkdirTemp(*work, "start-")
	measure.Must(err)
	defer os.RemoveAll(dir)
	broker, err := measure.StartBroker(dir)
	measure.Must(err)
	defer broker.Stop()
	f := measure.Figures{"figure": "start"}
	var warm, cold []float64
	first(dir, broker.Port) // makes the outbox, warms the page cache
	for range *starts {
		warm = append(warm, first(dir, broker.Port))
	}
	f["first_result_s"], f["runs"] = measure.Round(measure.Median(warm), 3), warm
	if os.Geteuid() == 0 {
		for range 3 {
			syscall.Sync()
			if os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0) != nil {
				break // a container may not
			}
			cold = append(cold, first(dir, broker.Port))
		}
	}
	if len(cold) > 0 {
		f["first_result_cold_s"], f["cold_runs"] = measure.Round(measure.Median(cold), 3), cold
	}
	f.Print()
}

func first(dir string, port int) float64 {
	sub, err := measure.Subscribe(port)
	measure.Must(err)
	defer sub.Close()
	began := time.Now()
	h, err := measure.StartHeron(measure.Service{Program: *heron, Dir: dir, Broker: port, Source: "file:" + *video + "?loop=true", Bundle: *bundle, FPS: 10})
	measure.Must(err)
	if !measure.Until(30*time.Second, func() bool { return sub.Arrivals().Total > 0 }) {
		measure.Must(fmt.Errorf("no result within 30 s: %s", h.Tail()))
	}
	s := sub.Arrivals().First.Sub(began).Seconds()
	h.End(syscall.SIGTERM)
	return measure.Round(s, 3)
}

// steady runs services side by side, each on a disk of its own: with a link, without one, with two cameras and zstd (a hundred results
// a group), and with a link and events.
func steady() {
	camera, err := line.NewCamera(line.CameraConfig{Seed: 1})
	measure.Must(err)
	ctx, stop := context.WithCancel(context.Background())
	watched := make(chan error, 1)
	go func() { watched <- camera.Run(ctx) }()
	defer func() {
		stop()
		<-watched
	}()
	// Alarms, events and audit records are committed one by one: what an event costs is told apart from what results cost.
	var online, offline, dense, busy run
	setups := []struct {
		*run
		setup
	}{
		{&online, setup{name: "online", link: true}}, {&offline, setup{name: "offline"}},
		{&dense, setup{name: "dense", link: true, cameras: 2, compress: "zstd"}}, {&busy, setup{name: "busy", link: true, events: true}},
	}
	var all sync.WaitGroup
	for _, s := range setups {
		all.Go(func() { s.measure(camera.URL(), s.setup) })
	}
	all.Wait()
	day := float64(24*time.Hour) / float64(*length) / 1e6
	measure.Figures{
		"figure": "steady", "measured_s": length.Seconds(), "alone_on_device": online.alone,
		"online_mb_an_hour": measure.Round(float64(online.disk)*day/24, 2), "offline_mb_an_hour": measure.Round(float64(offline.disk)*day/24, 2),
		"online_mb_a_day": measure.Round(float64(online.disk)*day, 1), "offline_mb_a_day": measure.Round(float64(offline.disk)*day, 1),
		"online_commits_a_minute": measure.Round(float64(online.commits)/length.Minutes(), 1), "offline_commits_a_minute": measure.Round(float64(offline.commits)/length.Minutes(), 1),
		"event_kb": measure.Round(float64(busy.disk-online.disk)/1e3/float64(max(busy.events, 1)), 1), "events_a_minute": measure.Round(float64(busy.events)/length.Minutes(), 1),
		"results_per_s":                  measure.Round(float64(online.results)/length.Seconds(), 2),
		"link_bytes_per_result_50_plain": perResult(online), "link_bytes_per_result_100_zstd": perResult(dense),
		"link_payload_bytes_per_result_100_zstd": measure.Round(float64(dense.carried.Up+dense.carried.Down)/float64(max(dense.results, 1)), 1),
		"heron_rss_mb":                           online.heron.Resident, "heron_rss_mb_offline": offline.heron.Resident, "heron_anon_mb": online.heron.Anonymous,
		"vision_rss_mb": online.vision.Resident, "heron_cpu_percent": measure.Round(online.heronCPU*100/length.Seconds(), 2),
		"vision_cpu_percent": measure.Round(online.visionCPU*100/length.Seconds(), 2),
	}.Print()
}

func perResult(r run) float64 {
	return measure.Round(float64(r.carried.WithHeaders())/float64(max(r.results, 1)), 1)
}

// setup is what tells the steady runs apart.
type setup struct {
	name, compress string
	cameras        int
	link, events   bool
}

// run is what one service cost during the measured time.
type run struct {
	alone               bool
	disk                int64
	commits, results    uint64
	events              uint64
	carried             measure.Carried
	heron, vision       measure.Memory
	heronCPU, visionCPU float64
}

func (r *run) measure(source string, s setup) {
	d, err := measure.NewDisk(*work, s.name, 256<<20)
	measure.Must(err)
	defer d.Close()
	broker, err := measure.StartBroker(d.Dir)
	measure.Must(err)
	defer broker.Stop()
	link := measure.NewLink(broker.Port)
	if s.link {
		measure.Must(link.Join())
		defer link.Cut()
	}
	// Only the outbox lies on the counted disk; the log does not.
	logs, err := os.MkdirTemp(*work, s.name+"-")
	measure.Must(err)
	defer os.RemoveAll(logs)
	service := measure.Service{
		Program: *heron, Dir: logs, Outbox: filepath.Join(d.Dir, "outbox.db"), Broker: link.Port, Source: source, Bundle: *demo, Cameras: s.cameras, FPS: 10, Compress: s.compress,
	}
	if !s.events {
		for _, class := range line.Classes() {
			service.Ignore = append(service.Ignore, class.String())
		}
	}
	h, err := measure.StartHeron(service)
	measure.Must(err)
	defer h.End(syscall.SIGTERM)
	time.Sleep(15 * time.Second) // settled
	before, err := h.Status()
	measure.Must(err)
	r.alone = d.Alone
	disk, carried := d.Written(), link.Carried()
	cpu, visionCPU := measure.CPU(h.PID), measure.CPU(before.Vision.PID)
	time.Sleep(*length)
	after, err := h.Status()
	if err != nil || after.Vision.PID != before.Vision.PID {
		measure.Must(fmt.Errorf("the %s service did not run through: %w %s", s.name, err, h.Tail()))
	}
	r.disk = d.Written() - disk
	now := link.Carried()
	r.carried = measure.Carried{Up: now.Up - carried.Up, Down: now.Down - carried.Down, Segments: now.Segments - carried.Segments}
	r.commits = after.Outbox.Commits - before.Outbox.Commits
	r.events = after.Events.Entered + after.Events.Exited - before.Events.Entered - before.Events.Exited
	for i := range after.Cameras {
		r.results += after.Cameras[i].Inferred - before.Cameras[i].Inferred
	}
	r.heron, r.vision = measure.MemoryOf(h.PID), measure.MemoryOf(after.Vision.PID)
	r.heronCPU, r.visionCPU = measure.CPU(h.PID)-cpu, measure.CPU(after.Vision.PID)-visionCPU
	measure.Log("%s: %d results, %d commits, %.2f MB to the disk", s.name, r.results, r.commits, float64(r.disk)/1e6)
}
