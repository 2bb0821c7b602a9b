package cli

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"heron/agent/status"
	"heron/sync/message"
)

// shelf is a signed repository behind a web server that counts, and a device that runs bottles 1.0.0 from its configuration.
type shelf struct {
	field
	dir    string
	url    string
	client paho.Client

	mu     sync.Mutex
	asked  map[string]int64            // bytes of bodies by the end of the path
	ranges []string                    // that were asked for, of archives
	tamper func(path string, b []byte) // nil: nothing is changed
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	b, _ := newCloud(t)
	s := &shelf{field: newField(t, b.URL(), "pictures:pictures?loop=true"), dir: t.TempDir(), asked: map[string]int64{}}
	must(t, os.WriteFile(filepath.Join(s.dir, "phrase"), []byte("a test's passphrase\n"), 0o600))
	s.repo(t, "init", "--root-keys", "1", "--threshold", "1")
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	s.url = web.URL
	s.client = paho.NewClient(paho.NewClientOptions().AddBroker(strings.Replace(b.URL(), "mqtt:", "tcp:", 1)).SetClientID("manager"))
	if tk := s.client.Connect(); !tk.WaitTimeout(10*time.Second) || tk.Error() != nil {
		t.Fatal(tk.Error())
	}
	t.Cleanup(func() { s.client.Disconnect(10) })
	text, err := os.ReadFile(s.conf)
	must(t, err)
	s.write(t, "heron.yaml", strings.Replace(string(text), "[{bundle: bundle}]", fmt.Sprintf("[{bundle: %q}]", s.archive("1.0.0")), 1)+
		fmt.Sprintf("repository: {url: %q, root: %q, shadow: 1ms, probation: 1s}\n", s.url, filepath.Join(s.dir, "repo/public/metadata/1.root.json")))
	return s
}

func (s *shelf) archive(version string) string {
	return filepath.Join(s.dir, "bottles-"+version+".tar.zst")
}

func (s *shelf) repo(t *testing.T, args ...string) string {
	t.Helper()
	out, errOut, code := heron(t, append([]string{"fleet", "repo", "--repo", filepath.Join(s.dir, "repo"), "--passphrase-file", filepath.Join(s.dir, "phrase")}, args...)...)
	if code != exitOK {
		t.Fatalf("repo %v: %d %s%s", args, code, out, errOut)
	}
	return out
}

// ServeHTTP gives the public folder, and counts.
func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, err := os.ReadFile(filepath.Join(s.dir, "repo/public", filepath.Clean("/"+r.URL.Path)))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	s.mu.Lock()
	if s.tamper != nil {
		s.tamper(r.URL.Path, b)
	}
	if strings.HasPrefix(r.URL.Path, "/targets/") && r.Header.Get("Range") != "" {
		s.ranges = append(s.ranges, r.Header.Get("Range"))
	}
	s.mu.Unlock()
	c := &counting{ResponseWriter: w}
	http.ServeContent(c, r, "", time.Unix(1, 0), bytes.NewReader(b))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[r.URL.Path] += c.n
}

type counting struct {
	http.ResponseWriter
	n int64
}

func (c *counting) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.n += int64(n)
	return n, err
}

// served sums the bytes of paths with an ending.
func (s *shelf) served(ending string) (n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for path, bytes := range s.asked {
		if strings.HasSuffix(path, ending) {
			n += bytes
		}
	}
	return n
}

// publish signs a version with these weights.
func (s *shelf) publish(t *testing.T, version string, weights []byte) (whole int64, said string) {
	t.Helper()
	packBundle(t, s.archive(version), "bottles", version, weights)
	info, err := os.Stat(s.archive(version))
	must(t, err)
	return info.Size(), s.repo(t, "add", s.archive(version))
}

// ask has the device want a version.
func (s *shelf) ask(t *testing.T, rev int64, version string) {
	t.Helper()
	b, err := json.Marshal(message.Desired{V: 1, Rev: rev, IssuedAt: time.Now().UTC(), IssuedBy: "anna", Models: []message.DesiredModel{{Slot: "main", Target: "bottles/" + version}}})
	must(t, err)
	if tk := s.client.Publish("heron/v1/test/dev-1/desired", 1, true, b); !tk.WaitTimeout(10*time.Second) || tk.Error() != nil {
		t.Fatal(tk.Error())
	}
}

// wish asks the device for a version, and waits until it is confirmed.
func (s *shelf) wish(t *testing.T, rev int64, version string) {
	t.Helper()
	s.ask(t, rev, version)
	s.until(t, version+" is confirmed", func(p *status.Snapshot) bool {
		for _, m := range p.Models {
			if u := m.Update; m.Version == version && u != nil && u.Target == "bottles/"+version && u.Step == message.StepConfirmed {
				return true
			}
		}
		return false
	})
}

// floats are n weights as training leaves them.
func floats(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, 0, 4*n)
	for range n {
		b, _ = binary.Append(b, binary.LittleEndian, float32(r.NormFloat64()*0.05))
	}
	return b
}

const megabyte = 250_000 // weights

// A retrained last layer of a 20 MB model comes as a patch of less than 3 % of it: first over the bundle of the configuration, then over one that came by a patch itself.
func TestALastLayerCostsThreePercent(t *testing.T) {
	slow(t)
	t.Parallel()
	s := newShelf(t)
	weights := floats(1, 20*megabyte)
	s.publish(t, "1.0.0", weights)
	copy(weights[len(weights)-500_000:], floats(2, 125_000))
	whole, said := s.publish(t, "1.1.0", weights)
	if !strings.Contains(said, "patch from bottles/1.0.0: ") {
		t.Errorf("add says: %s", said)
	}
	copy(weights[len(weights)-900_000:], floats(3, 100_000))
	if _, said := s.publish(t, "1.2.0", weights); strings.Count(said, "patch from ") != 2 {
		t.Errorf("add says: %s", said)
	}
	service := s.start(t)
	for i, v := range []string{"1.1.0", "1.2.0"} {
		before := s.served("")
		s.wish(t, int64(i+1), v)
		used := s.served("") - before
		t.Logf("%s: %d bytes of everything, metadata included, for a bundle of %d: %.2f %%", v, used, whole, 100*float64(used)/float64(whole))
		if used > whole*3/100 {
			t.Errorf("%s cost %d bytes, %.2f %% of the whole", v, used, 100*float64(used)/float64(whole))
		}
	}
	for _, patch := range []string{"bottles/1.0.0..1.1.0.hdp", "bottles/1.1.0..1.2.0.hdp"} {
		if !strings.Contains(service.log.String(), "patch="+patch) {
			t.Errorf("%s was not used", patch)
		}
	}
	left, err := filepath.Glob(filepath.Join(s.field.dir, "state/models/incoming/*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// What a patch starts from is damaged, or the patch is another: the device fetches the whole, and says why.
func TestAPatchThatDoesNotFitCostsTheWhole(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(t *testing.T, s *shelf)
		says  string // in the device's log
		patch bool   // is asked for
	}{
		"base damaged on the device": {spoil: func(t *testing.T, s *shelf) {
			files, err := filepath.Glob(filepath.Join(s.field.dir, "state/models/configured/*/weights.bin"))
			if err != nil || len(files) != 1 {
				t.Fatal(files, err)
			}
			b, err := os.ReadFile(files[0])
			must(t, err)
			b[len(b)/2] ^= 1
			must(t, os.WriteFile(files[0], b, 0o600))
		}},
		"patch tampered with": {patch: true, says: "another digest than the signed one", spoil: func(_ *testing.T, s *shelf) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.tamper = func(path string, b []byte) {
				if strings.HasSuffix(path, ".hdp") {
					b[len(b)/2] ^= 1
				}
			}
		}},
		"patch not on the server": {says: "404", spoil: func(t *testing.T, s *shelf) {
			files, err := filepath.Glob(filepath.Join(s.dir, "repo/public/targets/bottles/*.hdp"))
			if err != nil || len(files) != 1 {
				t.Fatal(files, err)
			}
			must(t, os.Remove(files[0]))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShelf(t)
			weights := floats(1, megabyte)
			s.publish(t, "1.0.0", weights)
			copy(weights[len(weights)-5000:], floats(2, 1250))
			whole, _ := s.publish(t, "1.1.0", weights)
			service := s.start(t)
			s.until(t, "classifies", classifying)
			c.spoil(t, s)
			s.wish(t, 1, "1.1.0")
			if got := s.served(".1.1.0"); got < whole {
				t.Errorf("%d bytes of the archive of %d", got, whole)
			}
			if got := s.served(".hdp"); (got > 0) != c.patch {
				t.Errorf("%d bytes of the patch", got)
			}
			if c.says != "" && (!strings.Contains(service.log.String(), c.says) || !strings.Contains(service.log.String(), "the whole bundle is fetched")) {
				t.Errorf("the log does not say %q", c.says)
			}
		})
	}
}
