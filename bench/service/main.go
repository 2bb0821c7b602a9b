// Command service measures heron run from outside, as a device runs it: how soon the first result is published, what an hour writes
// to the disk with and without a link, what a result costs on the link, and how much memory both processes hold.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"heron/bench/measure"
)

var (
	heron  = flag.String("heron", "bin/heron", "heron")
	bundle = flag.String("bundle", "bench/out/bundle", "model bundle")
	video  = flag.String("video", "bench/out/frames.avi", "film")
	work   = flag.String("work", "bench/out", "folder for disk images and logs")
	length = flag.Duration("length", 3*time.Minute, "of the steady runs")
	starts = flag.Int("starts", 7, "warm starts")
)

func main() {
	flag.Parse()
	for _, p := range []*string{heron, bundle, video, work} {
		abs, err := filepath.Abs(*p)
		measure.Must(err)
		*p = abs
	}
	startToFirst()
	steady()
}

func source() string { return "file:" + *video + "?loop=true" }

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
	h, err := measure.StartHeron(measure.Service{Program: *heron, Dir: dir, Broker: port, Source: source(), Bundle: *bundle, FPS: 10})
	measure.Must(err)
	if !measure.Until(30*time.Second, func() bool { return sub.Arrivals().Total > 0 }) {
		measure.Must(fmt.Errorf("no result within 30 s: %s", h.Tail()))
	}
	s := sub.Arrivals().First.Sub(began).Seconds()
	h.End(syscall.SIGTERM)
	return measure.Round(s, 3)
}

// steady runs three services side by side, each on a disk of its own: with a link, without one, and with two cameras and zstd
// (a hundred results a group).
func steady() {
	var all sync.WaitGroup
	online, offline, dense := new(run), new(run), new(run)
	for _, r := range []struct {
		*run
		name     string
		cameras  int
		compress string
		link     bool
	}{{online, "online", 1, "none", true}, {offline, "offline", 1, "none", false}, {dense, "dense", 2, "zstd", true}} {
		all.Go(func() { r.measure(r.name, r.cameras, r.compress, r.link) })
	}
	all.Wait()
	hour := float64(time.Hour) / float64(*length)
	measure.Figures{
		"figure": "steady", "measured_s": length.Seconds(), "alone_on_device": online.alone,
		"online_mb_an_hour": measure.Round(float64(online.disk)/1e6*hour, 2), "offline_mb_an_hour": measure.Round(float64(offline.disk)/1e6*hour, 2),
		"online_mb_a_day": measure.Round(float64(online.disk)/1e6*hour*24, 1), "offline_mb_a_day": measure.Round(float64(offline.disk)/1e6*hour*24, 1),
		"online_commits_a_minute": measure.Round(float64(online.commits)/length.Minutes(), 1), "offline_commits_a_minute": measure.Round(float64(offline.commits)/length.Minutes(), 1),
		"results_per_s":                  measure.Round(float64(online.results)/length.Seconds(), 2),
		"link_bytes_per_result_50_plain": perResult(online), "link_bytes_per_result_100_zstd": perResult(dense),
		"heron_rss_mb": online.heron.Resident, "heron_rss_mb_offline": offline.heron.Resident, "heron_anon_mb": online.heron.Anonymous,
		"vision_rss_mb": online.vision.Resident, "heron_cpu_percent": measure.Round(online.heronCPU*100/length.Seconds(), 2),
		"vision_cpu_percent": measure.Round(online.visionCPU*100/length.Seconds(), 2),
	}.Print()
}

func perResult(r *run) float64 {
	return measure.Round(float64(r.carried.WithHeaders())/float64(max(r.results, 1)), 1)
}

// run is what one service cost during the measured time.
type run struct {
	alone               bool
	disk                int64
	commits, results    uint64
	carried             measure.Carried
	heron, vision       measure.Memory
	heronCPU, visionCPU float64
}

func (r *run) measure(name string, cameras int, compress string, joined bool) {
	d, err := measure.NewDisk(*work, name, 256<<20)
	measure.Must(err)
	defer d.Close()
	broker, err := measure.StartBroker(d.Dir)
	measure.Must(err)
	defer broker.Stop()
	link := measure.NewLink(broker.Port)
	if joined {
		measure.Must(link.Join())
		defer link.Cut()
	}
	// Only the outbox lies on the counted disk; the log does not.
	logs, err := os.MkdirTemp(*work, name+"-")
	measure.Must(err)
	defer os.RemoveAll(logs)
	h, err := measure.StartHeron(measure.Service{
		Program: *heron, Dir: logs, Outbox: filepath.Join(d.Dir, "outbox.db"), Broker: link.Port, Source: source(), Bundle: *bundle, Cameras: cameras, FPS: 10, Compress: compress,
	})
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
		measure.Must(fmt.Errorf("the %s service did not run through: %w %s", name, err, h.Tail()))
	}
	r.disk = d.Written() - disk
	now := link.Carried()
	r.carried = measure.Carried{Up: now.Up - carried.Up, Down: now.Down - carried.Down, Segments: now.Segments - carried.Segments}
	r.commits = after.Outbox.Commits - before.Outbox.Commits
	for i := range after.Cameras {
		r.results += after.Cameras[i].Inferred - before.Cameras[i].Inferred
	}
	r.heron, r.vision = measure.MemoryOf(h.PID), measure.MemoryOf(after.Vision.PID)
	r.heronCPU, r.visionCPU = measure.CPU(h.PID)-cpu, measure.CPU(after.Vision.PID)-visionCPU
	measure.Log("%s: %d results, %d commits, %.2f MB to the disk", name, r.results, r.commits, float64(r.disk)/1e6)
}
