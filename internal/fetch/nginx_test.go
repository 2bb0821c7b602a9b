package fetch

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"heron/internal/freeport"
)

// nginx serves a folder, with the range requests and tags of a real server, and writes status, range and bytes of each answer to a log.
func nginx(t *testing.T) (url, dir string, log func() []string) {
	t.Helper()
	bin, err := exec.LookPath("nginx")
	if err != nil {
		if bin = "/usr/sbin/nginx"; !executable(bin) {
			t.Skip("nginx is not installed (apt-get install nginx-light)")
		}
	}
	addr := freeport.Address(t)
	run := t.TempDir()
	dir = filepath.Join(run, "files")
	for _, d := range []string{dir, run + "/tmp"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, run+"/nginx.conf", []byte(strings.NewReplacer("RUN", run, "ADDR", addr).Replace(`
daemon off; master_process off; pid "RUN/pid"; error_log "RUN/error.log"; worker_processes 1;
events { worker_connections 64; }
http {
  log_format ours '$status $http_range $sent_http_content_range $body_bytes_sent';
  access_log "RUN/access.log" ours; gzip on; gzip_types *;
  client_body_temp_path "RUN/tmp/a"; proxy_temp_path "RUN/tmp/b"; fastcgi_temp_path "RUN/tmp/c"; uwsgi_temp_path "RUN/tmp/d"; scgi_temp_path "RUN/tmp/e";
  server { listen ADDR; root "RUN/files"; location /slow/ { alias "RUN/files/"; limit_rate 4m; } location /busy { return 503; } location /moved { return 301 /model; } }
}`)))
	cmd := exec.Command(bin, "-p", run, "-c", run+"/nginx.conf", "-e", run+"/error.log")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			break
		}
		if time.Now().After(deadline) {
			b, _ := os.ReadFile(run + "/error.log")
			t.Fatalf("nginx does not come up: %s", b)
		}
	}
	return "http://" + addr, dir, func() []string {
		b, _ := os.ReadFile(run + "/access.log")
		return strings.Split(strings.TrimSpace(string(b)), "\n")
	}
}

func executable(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode()&0o111 != 0
}

func TestNginx(t *testing.T) {
	url, dir, log := nginx(t)
	data := random(4 << 20)
	write(t, dir+"/model", data)
	if err := os.Chmod(dir+"/model", 0o644); err != nil {
		t.Fatal(err)
	}
	c := client(t, nil, url)

	r := want(t, data, url+"/moved")
	if err := c.File(limit(t), r); err != nil {
		t.Fatal(err)
	}
	arrived(t, r, data)

	stop := func(r Request, at int64) {
		t.Helper()
		ctx, cancel := context.WithCancel(limit(t))
		r.Progress = func(done, _ int64) {
			if done >= at {
				cancel()
			}
		}
		if err := c.File(ctx, r); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
	}
	r = want(t, data, url+"/slow/model")
	for _, at := range []int64{1 << 20, 2 << 20, 3 << 20} {
		stop(r, at)
	}
	before := c.Stats()
	if err := c.File(limit(t), r); err != nil {
		t.Fatal(err)
	}
	arrived(t, r, data)
	if s := c.Stats(); before.Resumed != 2 || s.Resumed != 3 || s.Restarted != 0 {
		t.Errorf("%+v", s)
	}
	if got := c.Stats().Received - int64(len(data)); got > int64(len(data))*102/100 {
		t.Errorf("%d bytes for a file of %d", got, len(data))
	}

	// the object changes between two calls: nginx sees by If-Range that its tag is another and sends the whole
	r = want(t, data, url+"/slow/model")
	stop(r, 1<<20)
	next := random(4<<20 + 1)[1:]
	write(t, dir+"/model.new", next)
	if err := errors.Join(os.Chmod(dir+"/model.new", 0o644), os.Chtimes(dir+"/model.new", time.Now(), time.Now().Add(-time.Hour)), os.Rename(dir+"/model.new", dir+"/model")); err != nil {
		t.Fatal(err)
	}
	if err := c.File(limit(t), r); !errors.Is(err, ErrDigest) {
		t.Errorf("signed is the old one: %v", err)
	}
	only(t, r)
	if s := c.Stats(); s.Restarted != 1 || s.Digests != 1 {
		t.Errorf("%+v", s)
	}
	var status *StatusError
	if _, err := c.Get(limit(t), url+"/busy", 100); !errors.As(err, &status) || status.Code != 503 {
		t.Errorf("got %v", err)
	}
	if _, err := c.Get(limit(t), url+"/none.json", 100); !errors.As(err, &status) || status.Code != 404 {
		t.Errorf("got %v", err)
	}
	lines := log()
	if !strings.Contains(strings.Join(lines, "\n"), "206 bytes=") {
		t.Errorf("%q", lines)
	}
	t.Log(strings.Join(lines, "\n"))
}
