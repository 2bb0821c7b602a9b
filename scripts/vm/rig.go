package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"heron/agent/status"
)

const (
	programs = "/opt/heron"
	page     = "127.0.0.1:8642"
	user     = 1000 // heron's, in this machine

	size = "320x180" // vivid's smallest: every processor instruction is emulated here
	fps  = 5

	backWithin  = 10 * time.Second // the promise: a camera that is there again is seen again
	startWithin = 90 * time.Second // of everything, in a machine many times slower than a board, whose processors others use too
	newWithin   = 30 * time.Second // the promise: a process that died is there again
)

// rig is one case's service and what it has to clean up.
type rig struct {
	name, dir string
	heron     *exec.Cmd
	ended     chan error
	cleanups  []func() error
	client    http.Client
}

// camera is an entry of the configuration; the name is also how it is asked for.
func camera(name, source string) string {
	return fmt.Sprintf("{name: %s, source: %q, size: %s, fps: %d}", name, source, size, fps)
}

const manifest = `{"v":1,"name":"light","version":"1.0.0","engines":[{"engine":"scripted","file":"answers.json"}],"labels":"labels.txt",
"input":{"width":32,"height":32,"layout":"NHWC","dtype":"uint8"},"output":{"kind":"probabilities","dtype":"float32"}}`

// configure writes heron.yaml and a scripted model that tells dark pictures from bright ones. heron.yaml is the file's name.
func (r *rig) configure(vision string, cameras ...string) (string, error) {
	conf := filepath.Join(r.dir, "heron.yaml")
	for name, text := range map[string]string{
		"bundle/manifest.json": manifest, "bundle/labels.txt": "dark\nbright\n",
		"bundle/answers.json": `{"answers":[["dark",0.9],["bright",0.92]]}`,
		"heron.yaml": fmt.Sprintf("device: {id: dev-vm}\ncameras: [%s]\nmodels: [{bundle: bundle}]\nboard: {adapt: false}\n"+
			"outbox: {path: state/outbox.db, max_size: 16MiB}\nvision: {command: %s}\nstatus: {listen: %q}\nlog: {format: text}\n",
			strings.Join(cameras, ", "), vision, page),
	} {
		path := filepath.Join(r.dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			return "", err
		}
	}
	state := filepath.Join(r.dir, "state")
	return conf, errors.Join(os.MkdirAll(state, 0o755), os.Chown(state, user, user))
}

// start runs heron as an ordinary user of the group video and waits until every camera is classified.
func (r *rig) start(cameras ...string) error {
	return r.startIn(-1, filepath.Join(programs, "heron-vision"), cameras...)
}

// startIn starts it in a control group, an open folder of cgroupfs; -1 is none.
func (r *rig) startIn(cgroup int, vision string, cameras ...string) error {
	conf, err := r.configure(vision, cameras...)
	if err != nil {
		return err
	}
	c := exec.Command(filepath.Join(programs, "heron"), "run", "--config", conf)
	c.Stdout, c.Stderr, c.Dir = os.Stderr, os.Stderr, "/"
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user, Groups: []uint32{videoGroup}},
		UseCgroupFD: cgroup >= 0, CgroupFD: cgroup}
	if err := c.Start(); err != nil {
		return err
	}
	r.heron, r.ended = c, make(chan error, 1)
	go func() { r.ended <- c.Wait() }()
	_, err = r.until("every camera is classified", startWithin, func(s *status.Snapshot) bool {
		for _, cam := range s.Cameras {
			if cam.Inferred < 2 {
				return false
			}
		}
		return len(s.Cameras) == len(cameras)
	})
	return err
}

// clean stops heron in good order, then undoes the rest.
func (r *rig) clean() error {
	var errs []error
	if r.heron != nil {
		errs = append(errs, r.stop())
	}
	for i := len(r.cleanups) - 1; i >= 0; i-- {
		errs = append(errs, r.cleanups[i]())
	}
	return errors.Join(append(errs, r.unload())...)
}

func (r *rig) stop() error {
	_ = r.heron.Process.Signal(syscall.SIGTERM) // it may have ended: that is told below
	select {
	case err := <-r.ended:
		if err != nil {
			return fmt.Errorf("heron did not end well: %w", err)
		}
		return nil
	case <-time.After(20 * time.Second):
		_ = r.heron.Process.Kill()
		<-r.ended
		return errors.New("heron did not end within 20 s of SIGTERM")
	}
}

// status asks the local page.
func (r *rig) status() (*status.Snapshot, error) {
	select {
	case err := <-r.ended:
		r.ended <- err
		return nil, fmt.Errorf("heron has ended: %v", err)
	default:
	}
	r.client.Timeout = 5 * time.Second
	resp, err := r.client.Get("http://" + page + "/api/v1/status")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var s status.Snapshot
	return &s, json.NewDecoder(resp.Body).Decode(&s)
}

// until asks again and again and says how long it took until good held.
func (r *rig) until(what string, limit time.Duration, good func(*status.Snapshot) bool) (time.Duration, error) {
	began := time.Now()
	for {
		s, err := r.status()
		took := time.Since(began)
		if err == nil && good(s) {
			return took, nil
		}
		if err == nil && took > limit || took > limit+newWithin {
			return took, fmt.Errorf("not within %v: %s; %s", limit, what, told(s, err))
		}
		if err != nil && len(r.ended) > 0 {
			return took, err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// told is what the page says, in short.
func told(s *status.Snapshot, err error) string {
	if err != nil || s == nil {
		return fmt.Sprintf("the page does not answer: %v", err)
	}
	out := fmt.Sprintf("heron-vision %s (%d restarts, %s)", s.Vision.State, s.Vision.Restarts, s.Vision.LastReason)
	for _, c := range s.Cameras {
		seen := "nothing"
		if c.Last != nil && len(c.Last.Top) > 0 {
			seen = c.Last.Top[0].Label
		}
		out += fmt.Sprintf("; %s %s, %d classified (%s), newest frame %.1f s, reopened %d: %s", c.Name, c.State, c.Inferred, seen, c.FrameAgeS, c.Reopened, c.LastError)
	}
	return out
}

// find is a camera's entry; heron lists every configured one.
func find(s *status.Snapshot, name string) *status.Camera {
	for i := range s.Cameras {
		if s.Cameras[i].Name == name {
			return &s.Cameras[i]
		}
	}
	return &status.Camera{}
}

// back waits until two frames have been classified that were taken since this call. (Counters would do no good: the page may count
// frames of before only now.)
func (r *rig) back(name string, limit time.Duration) (time.Duration, error) {
	began, seen := time.Now(), map[time.Time]bool{}
	return r.until("results of "+name+" again", limit, func(s *status.Snapshot) bool {
		if last := since(s, name, began); last != nil {
			seen[last.At] = true
		}
		return len(seen) >= 2
	})
}

// since is a camera's newest answer if its frame was taken after t; else nil.
func since(s *status.Snapshot, name string, t time.Time) *status.Last {
	if last := find(s, name).Last; last != nil && last.At.After(t) && len(last.Top) > 0 {
		return last
	}
	return nil
}

// reason waits until the page gives one of these words as what is wrong with the camera.
func (r *rig) reason(name string, limit time.Duration, words ...string) (said string, took time.Duration, err error) {
	took, err = r.until(fmt.Sprintf("a reason with one of %q", words), limit, func(s *status.Snapshot) bool {
		said = ""
		for _, why := range s.Reasons {
			if strings.HasPrefix(why.Code, "camera-") && strings.Contains(why.Text, name) {
				said += why.Text + " "
			}
		}
		for _, w := range words {
			if strings.Contains(said, w) {
				return true
			}
		}
		return false
	})
	return strings.TrimSpace(said), took, err
}
