package budget

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestRouteTo(t *testing.T) {
	lo := ""
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 {
			lo = i.Name
		}
	}
	for host, want := range map[string]string{"127.0.0.1:443": lo, "localhost:443": lo, "nowhere.invalid:443": "", "127.0.0.1": ""} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		got, err := RouteTo(ctx, host)
		cancel()
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%s: %q, %v; want %q", host, got, err, want)
		}
	}
}

// A network of its own with a wire and a modem, by names: routes are found as the kernel has them, and follow when they change.
func TestRoutesInANamespace(t *testing.T) {
	if os.Getenv("HERON_BUDGET_NETNS") != "" {
		inNamespace(t)
		return
	}
	for _, tool := range []string{"unshare", "ip"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	if out, err := exec.Command("unshare", "-Urn", "ip", "link", "add", "wwan0", "type", "veth", "peer", "name", "w").CombinedOutput(); err != nil {
		t.Skipf("no network namespace, or no veth in it: %v %s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "unshare", "-Urn", os.Args[0], "-test.run", "^TestRoutesInANamespace$", "-test.v")
	c.Env = append(os.Environ(), "HERON_BUDGET_NETNS=1")
	if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}

func inNamespace(t *testing.T) {
	ip := func(args string) {
		t.Helper()
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v %s", args, err, out)
		}
	}
	for i, name := range []string{"eth0", "wwan0"} {
		ip(fmt.Sprintf("link add %s type veth peer name far%d", name, i))
		ip(fmt.Sprintf("addr add 10.9.%d.2/24 dev %s", i, name))
		ip("link set " + name + " up")
		ip(fmt.Sprintf("link set far%d up", i))
	}
	ip("link set lo up")
	route := func(host, want string) {
		t.Helper()
		if got, err := RouteTo(t.Context(), host); got != want {
			t.Errorf("%s: %q (%v), want %q", host, got, err, want)
		}
	}
	route("192.0.2.1:443", "") // no route yet
	ip("route add default via 10.9.1.1 dev wwan0 metric 200")
	route("192.0.2.1:443", "wwan0")
	route("10.9.0.7:443", "eth0")
	ip("route add default via 10.9.0.1 dev eth0 metric 100")
	route("192.0.2.1:443", "eth0")
	ip("link set eth0 down")
	route("192.0.2.1:443", "wwan0")

	b, err := New(Config{Metered: []string{"wwan*"}, Host: "192.0.2.1:443"})
	if err != nil {
		t.Fatal(err)
	}
	if _, why := b.Check(t.Context()); !strings.Contains(why, "link wwan0 is metered") {
		t.Errorf("%q", why)
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		patterns, name string
		want           bool
	}{{"wwan*", "wwan0", true}, {"ww*", "wwp0s20f0u3", true}, {"eth? ppp*", "ppp12", true}, {"wwan*", "eth0", false}, {"usb0", "usb01", false}, {"*", "", false}, {"", "eth0", false}} {
		if got := Match(strings.Fields(c.patterns), c.name); got != c.want {
			t.Errorf("%q in %q: %v", c.name, c.patterns, got)
		}
	}
}

// server has one file, and honours ranges.
func server(t *testing.T, data []byte) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(data)))
	}))
	t.Cleanup(s.Close)
	return s.URL
}
