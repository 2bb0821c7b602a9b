package fetch

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestCutTransfersAreResumed(t *testing.T) {
	o := &object{data: random(2 << 20), etag: `"1"`}
	o.cutAt(10, 150_000)
	url := serve(t, o)
	c := client(t, nil, url)
	r := want(t, o.data, url)
	if err := c.File(limit(t), r); err != nil {
		t.Fatal(err)
	}
	arrived(t, r, o.data)
	s := c.Stats()
	if s.Received != 2<<20 || s.Resumed != 10 || s.Restarted != 0 || s.Retries != 10 {
		t.Errorf("%+v", s)
	}
	for i, q := range o.requests()[1:] {
		if q != fmt.Sprintf("bytes=%d-", (i+1)*150_000) {
			t.Errorf("request %d asks for %s", i+1, q)
		}
	}
}

func TestCancelledTransferIsTakenUpByTheNextCall(t *testing.T) {
	o := &object{data: random(3 << 20), etag: `"1"`}
	url := serve(t, o)
	c := client(t, nil, url)
	r := want(t, o.data, url)
	ctx, cancel := context.WithCancelCause(limit(t))
	why := errors.New("the window is over")
	r.Progress = func(done, _ int64) {
		if done > 2<<20 {
			cancel(why)
		}
	}
	if err := c.File(ctx, r); !errors.Is(err, why) {
		t.Fatalf("got %v", err)
	}
	only(t, r, "model.part", "model.part.journal")
	r.Progress = nil
	if err := c.File(limit(t), r); err != nil {
		t.Fatal(err)
	}
	arrived(t, r, o.data)
	if s := c.Stats(); s.Received > 3<<20+blockSize || s.Resumed != 1 {
		t.Errorf("%+v", s)
	}
}

// A power cut may leave any journal and any part: what does not fit together is begun anew, what is wrong in the middle is found at the end.
func TestPartsAndJournalsAreNotTrusted(t *testing.T) {
	data := random(2 << 20)
	half := func(t *testing.T, c *Client, r Request) {
		t.Helper()
		ctx, cancel := context.WithCancel(limit(t))
		r.Progress = func(done, _ int64) {
			if done >= 1<<20 {
				cancel()
			}
		}
		if err := c.File(ctx, r); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	overwrite := func(path string, at int64, b []byte) error {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.WriteAt(b, at)
		return err
	}
	cases := map[string]func(r *Request) error{
		"no journal":              func(r *Request) error { return os.Remove(r.Path + journalSuffix) },
		"no part":                 func(r *Request) error { return os.Remove(r.Path + partSuffix) },
		"part shorter":            func(r *Request) error { return os.Truncate(r.Path+partSuffix, 1000) },
		"journal empty":           func(r *Request) error { return os.Truncate(r.Path+journalSuffix, 0) },
		"journal zeros":           func(r *Request) error { return overwrite(r.Path+journalSuffix, 0, make([]byte, 2*slotSize)) },
		"journal garbage":         func(r *Request) error { return overwrite(r.Path+journalSuffix, 0, random(2*slotSize)) },
		"one slot torn":           func(r *Request) error { return overwrite(r.Path+journalSuffix, 20, []byte("torn")) },
		"other slot torn":         func(r *Request) error { return overwrite(r.Path+journalSuffix, slotSize+20, []byte("torn")) },
		"a byte of the part lost": func(r *Request) error { return overwrite(r.Path+partSuffix, 5000, []byte{^data[5000]}) },
		"a page of zeros":         func(r *Request) error { return overwrite(r.Path+partSuffix, 8192, make([]byte, 4096)) },
	}
	for name, damage := range cases {
		t.Run(name, func(t *testing.T) {
			o := &object{data: data, etag: `"1"`}
			url := serve(t, o)
			c := client(t, nil, url)
			r := want(t, data, url)
			half(t, c, r)
			if err := damage(&r); err != nil {
				t.Fatal(err)
			}
			err := c.File(limit(t), r)
			if errors.Is(err, ErrDigest) { // damage in the middle: seen when all is there, nothing is left, the next call is right
				only(t, r)
				err = c.File(limit(t), r)
			}
			if err != nil {
				t.Fatal(err)
			}
			arrived(t, r, data)
		})
	}
}

func TestKilledBetweenTheLastByteAndTheName(t *testing.T) {
	data := random(100_000)
	for name, content := range map[string][]byte{"right": data, "wrong": random(100_000 + 1)[:100_000]} {
		o := &object{data: data}
		url := serve(t, o)
		c := client(t, nil, url)
		r := want(t, data, url)
		p, err := openPart(r.Path, r.Size, r.SHA256, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.write(content); err != nil {
			t.Fatal(err)
		}
		if err := p.close(); err != nil {
			t.Fatal(err)
		}
		if err := c.File(limit(t), r); err != nil {
			t.Fatal(name, err)
		}
		arrived(t, r, data)
		if n := len(o.requests()); n > 0 && name == "right" || n != 1 && name == "wrong" {
			t.Errorf("%s: %d requests", name, n)
		}
	}
}

const childEnv = "HERON_FETCH_TEST_CHILD"

// child is a device: it fetches and says how far it is, until it is killed.
func child(job string) int {
	f := strings.Split(job, "|")
	size, _ := strconv.ParseInt(f[2], 10, 64)
	c, err := New(Config{Hosts: []string{f[0]}, AllowLoopbackHTTP: true, Limits: quick()})
	if err == nil {
		err = c.File(context.Background(), Request{URLs: []string{f[0]}, Path: f[1], Size: size, SHA256: f[3],
			Progress: func(done, _ int64) { fmt.Println(done) }})
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// SIGKILL at random points: nothing that was received more than a megabyte before is asked for again.
func TestKilledProcessesLoseAtMostAMegabyte(t *testing.T) { killing(t, 12<<20, 5) }

func TestTortureKills(t *testing.T) {
	if os.Getenv("HERON_TORTURE") == "" {
		t.Skip("a hundred kills take a while; HERON_TORTURE=1 runs them")
	}
	killing(t, 64<<20, 100)
}

func killing(t *testing.T, size, kills int) {
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("HERON_TORTURE_SEED"), 10, 64); err == nil {
		seed = s
	}
	rnd := rand.New(rand.NewPCG(seed, 1))
	o := &object{data: random(size), etag: `"1"`}
	url := serve(t, o)
	r := want(t, o.data, url)
	said, worst := int64(0), int64(0)
	for killed := 0; ; killed++ {
		stop := said + 1 + rnd.Int64N(int64(size)/int64(kills))
		if killed >= kills {
			stop = 1 << 62
		}
		before := len(o.requests())
		last, done := runChild(t, fmt.Sprintf("%s|%s|%d|%s", url, r.Path, r.Size, r.SHA256), stop)
		if asked := o.requests()[before:]; said > 0 && len(asked) > 0 {
			var from int64
			if asked[0] != "" {
				if _, err := fmt.Sscanf(asked[0], "bytes=%d-", &from); err != nil {
					t.Fatal(err)
				}
			}
			worst = max(worst, said-from)
		}
		if done {
			t.Logf("seed %d: %d kills, at most %d bytes fetched again", seed, killed, worst)
			break
		}
		said = last
	}
	arrived(t, r, o.data)
	if worst > 1<<20 {
		t.Errorf("seed %d: %d bytes were received and asked for again", seed, worst)
	}
}

// runChild kills it when it has said stop bytes or more; done: it ended by itself.
func runChild(t *testing.T, job string, stop int64) (last int64, done bool) {
	t.Helper()
	cmd := exec.CommandContext(limit(t), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+job)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	for s := bufio.NewScanner(out); s.Scan(); {
		n, err := strconv.ParseInt(s.Text(), 10, 64)
		if err != nil {
			t.Fatalf("the child says %s", s.Text())
		}
		if last = n; n >= stop && !killed {
			killed = cmd.Process.Kill() == nil
		}
	}
	err = cmd.Wait()
	if err != nil && !killed {
		t.Fatal(err)
	}
	return last, err == nil
}

// link is a slow network between client and server that breaks; it counts what the server's side sent through it.
type link struct {
	rate   int64        // bytes/s; 0: as fast as the client reads
	cuts   []int64      // after so many bytes in all
	passed atomic.Int64 // bytes to the client
	taken  func() int64 // what the client has read, of bodies
	conns  atomic.Int64
}

func (l *link) listen(t *testing.T, target string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			l.conns.Add(1)
			wg.Go(func() { l.serve(c.(*net.TCPConn), target) })
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return "http://" + ln.Addr().String()
}

func (l *link) serve(c *net.TCPConn, target string) {
	defer c.Close()
	up, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer up.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { // requests
		defer up.Close()
		buf := make([]byte, 4096)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			if _, err := up.Write(buf[:n]); err != nil {
				return
			}
		}
	})
	buf := make([]byte, 1400)
	for {
		n, err := up.Read(buf)
		if err != nil {
			c.Close()
			return
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return
		}
		total := l.passed.Add(int64(n))
		if l.rate > 0 {
			time.Sleep(time.Duration(float64(n) / float64(l.rate) * float64(time.Second)))
		}
		if len(l.cuts) > 0 && total >= l.cuts[0] {
			l.cuts = l.cuts[1:]
			if l.rate == 0 { // a real link is slower than its reader; this one waits for it
				for deadline := time.Now().Add(20 * time.Second); l.taken() < total-1000*l.conns.Load() && time.Now().Before(deadline); {
					time.Sleep(time.Millisecond)
				}
			}
			_ = c.SetLinger(0)
			c.Close()
			return
		}
	}
}

// The link of the issue: 1 Mbit/s, ten cuts, at most 1.02 times the size. Here as fast as it goes; TestTortureLink at full size and speed.
func TestTenCutsCostTwoPercent(t *testing.T) { tenCuts(t, 3<<20, 0) }

func TestTortureLink(t *testing.T) {
	if os.Getenv("HERON_TORTURE") == "" {
		t.Skip("20 MB over 1 Mbit/s take three minutes; HERON_TORTURE=1 runs it")
	}
	tenCuts(t, 20<<20, 125_000)
}

func tenCuts(t *testing.T, size int, rate int64) {
	o := &object{data: random(size), etag: `"1"`}
	l := &link{rate: rate}
	for i := range int64(10) {
		l.cuts = append(l.cuts, (i*int64(size)/10)+int64(size)/21)
	}
	url := l.listen(t, strings.TrimPrefix(serve(t, o), "http://"))
	c := client(t, nil, url)
	l.taken = func() int64 { return c.Stats().Received }
	r := want(t, o.data, url)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	start := time.Now()
	if err := c.File(ctx, r); err != nil {
		t.Fatal(err)
	}
	arrived(t, r, o.data)
	ratio := float64(l.passed.Load()) / float64(size)
	t.Logf("%d bytes through the link for %d, headers included: %.4f times; %d connections, %v", l.passed.Load(), size, ratio, l.conns.Load(), time.Since(start).Round(time.Second/10))
	if ratio > 1.02 || len(l.cuts) > 0 {
		t.Errorf("%.4f times the size, %d cuts not made", ratio, len(l.cuts))
	}
}

func TestChangedObjectsAreBegunAnew(t *testing.T) {
	old, data := random(1<<20), random(1<<20 + 1)[:1<<20]
	type next = func(o *object) func(w http.ResponseWriter, r *http.Request) bool
	header := func(kv ...string) next {
		return func(o *object) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if r.Header.Get("Range") == "" {
					return false
				}
				w.Header().Set("Content-Type", "application/octet-stream")
				for i := 0; i < len(kv); i += 2 {
					w.Header().Set(kv[i], kv[i+1])
				}
				w.WriteHeader(http.StatusPartialContent)
				_, _ = w.Write(data[500_000:])
				return true
			}
		}
	}
	cases := map[string]struct {
		then     next
		requests int
	}{
		"If-Range, 200": {nil, 2},
		"no ranges at all": {func(o *object) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool { r.Header.Del("Range"); return false }
		}, 2},
		"206 in spite of another ETag": {header("ETag", `"2"`, "Content-Range", "bytes 500000-1048575/1048576"), 3},
		"206 without the ETag":         {header("Content-Range", "bytes 500000-1048575/1048576"), 3},
		"another range":                {header("ETag", `"1"`, "Content-Range", "bytes 400000-1048575/1048576"), 3},
		"an earlier end":               {header("ETag", `"1"`, "Content-Range", "bytes 500000-600000/1048576"), 3},
		"no Content-Range":             {header("ETag", `"1"`), 3},
		"rubbish as Content-Range":     {header("ETag", `"1"`, "Content-Range", "bytes -1-9223372036854775808/*"), 3},
		"416": {func(o *object) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if r.Header.Get("Range") != "" {
					w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
				}
				return r.Header.Get("Range") != ""
			}
		}, 3},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			o := &object{data: old, etag: `"1"`}
			o.cutAt(1, 500_000)
			url := serve(t, o)
			c := client(t, nil, url)
			r := want(t, data, url)
			r.Progress = func(done, _ int64) {
				if done == 500_000 {
					o.set(data, `"2"`)
					if tc.then != nil {
						o.mu.Lock()
						o.before = tc.then(o)
						o.mu.Unlock()
					}
				}
			}
			if err := c.File(limit(t), r); err != nil {
				t.Fatal(err)
			}
			arrived(t, r, data)
			if s := c.Stats(); s.Restarted != 1 {
				t.Errorf("%+v", s)
			}
			if n := len(o.requests()); n != tc.requests {
				t.Errorf("%d requests %q, want %d", n, o.requests(), tc.requests)
			}
		})
	}
}

func TestObjectThatKeepsChangingIsGivenUp(t *testing.T) {
	data := random(1 << 20)
	var n atomic.Int64
	o := &object{data: data}
	o.before = func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("ETag", fmt.Sprintf(`"%d"`, n.Add(1)))
		lw := &limitedWriter{ResponseWriter: w, left: 200_000}
		lw.Header().Set("Content-Length", strconv.Itoa(len(data)))
		_, _ = lw.Write(data)
		panic(http.ErrAbortHandler)
	}
	url := serve(t, o)
	c := client(t, nil, url)
	r := want(t, data, url)
	if err := c.File(limit(t), r); !errors.Is(err, ErrChanging) {
		t.Errorf("got %v", err)
	}
	if s := c.Stats(); s.Restarted != maxRestarts+1 {
		t.Errorf("%+v", s)
	}
	only(t, r, "model.part", "model.part.journal")
}

func TestMirrors(t *testing.T) {
	data := random(1 << 20)
	good := &object{data: data, etag: `"g"`}
	other := &object{data: data, etag: `"other server, other tag"`}
	lying := &object{data: append([]byte{^data[0]}, data[1:]...), etag: `"x"`}
	gone := http.NotFoundHandler()
	goodURL, otherURL, lyingURL, goneURL := serve(t, good), serve(t, other), serve(t, lying), serve(t, gone)
	c := client(t, nil, goodURL, otherURL, lyingURL, goneURL, "http://127.0.0.1:1")

	r := want(t, data, goneURL, "http://127.0.0.1:1", lyingURL, goodURL)
	if err := c.File(limit(t), r); err != nil {
		t.Fatal(err)
	}
	arrived(t, r, data)
	if n := len(lying.requests()); n != 1 {
		t.Errorf("the lying mirror was asked %d times", n)
	}

	// a cut without progress: the next mirror continues, under another tag
	good.cutAt(1, 50_000)
	r = want(t, data, goodURL, otherURL)
	if err := c.File(limit(t), r); err != nil {
		t.Fatal(err)
	}
	arrived(t, r, data)
	if q := other.requests(); len(q) != 1 || q[0] != "bytes=50000-" {
		t.Errorf("the second mirror was asked for %q", q)
	}

	// the beginning from a liar, the rest from the honest one: begun anew, and nobody blamed for the mixture
	lying.cutAt(1, 50_000)
	good.before = nil
	r = want(t, data, lyingURL, goodURL)
	if err := c.File(limit(t), r); err != nil {
		t.Fatal(err)
	}
	arrived(t, r, data)

	r = want(t, data, goneURL, lyingURL)
	err := c.File(limit(t), r)
	var status *StatusError
	if !errors.Is(err, ErrDigest) || !errors.As(err, &status) {
		t.Errorf("both reasons: %v", err)
	}
	only(t, r)
}

func TestSlotsOfTheJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	j, err := openJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	defer j.f.Close()
	for i := range int64(5) {
		if err := j.write(record{Size: 10, Done: i, Validator: `"x"`}); err != nil {
			t.Fatal(err)
		}
		other, err := openJournal(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := other.read(); got.Done != i {
			t.Errorf("read %d, want %d", got.Done, i)
		}
		other.f.Close()
	}
}

// FuzzSlot: a slot that was hit anywhere is the record that was written, or none.
func FuzzSlot(f *testing.F) {
	f.Add(uint16(0), byte(1), int64(5), `"etag"`)
	f.Add(uint16(30), byte(255), int64(1<<40), "Sat, 21 Nov 2026 12:00:00 GMT")
	f.Fuzz(func(t *testing.T, at uint16, xor byte, done int64, validator string) {
		j, err := openJournal(filepath.Join(t.TempDir(), "j"))
		if err != nil {
			t.Fatal(err)
		}
		defer j.f.Close()
		if err := j.write(record{Done: done, Validator: strings.ToValidUTF8(validator[:min(len(validator), 256)], "?")}); err != nil {
			t.Skip(err)
		}
		want := j.read()
		slot := make([]byte, slotSize)
		if _, err := j.f.ReadAt(slot, int64(j.n%2)*slotSize); err != nil {
			t.Fatal(err)
		}
		slot[int(at)%slotSize] ^= xor
		if got, ok := parseSlot(slot); want.Done != done || ok && got != want {
			t.Errorf("%+v became %+v", want, got)
		}
	})
}
