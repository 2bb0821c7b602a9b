package repo_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"heron/sync/repo"
	"heron/sync/trust"
)

// orders is where a process of this test finds its folder and what it is to do there.
const orders = "HERON_TEST_REPO"

// TestMain is also the program that is killed: a publisher's command on a folder.
func TestMain(m *testing.M) {
	text := os.Getenv(orders)
	if text == "" {
		os.Exit(m.Run())
	}
	list := strings.Split(text, "\n")
	res, err := command(list[0], list[1], list[2:]...)
	fmt.Printf("%+v %v\n", res, err)
	if err != nil {
		os.Exit(1)
	}
}

func conf(dir string) repo.Config {
	return repo.Config{Dir: dir, Cost: 10, Passphrase: func(string, bool) ([]byte, error) { return []byte("a test's passphrase"), nil }}
}

func command(dir, name string, args ...string) (res repo.Result, err error) {
	c := conf(dir)
	switch name {
	case "sign":
		for _, k := range args {
			c.Keys = append(c.Keys, filepath.Join(dir, k))
		}
	case "refresh in a week":
		c.Now = func() time.Time { return time.Now().Add(8 * 24 * time.Hour) }
	}
	r, err := repo.Open(c)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	switch name {
	case "add":
		return r.Add(args[0], args[1], nil, repo.Item{File: args[0], Name: args[1] + repo.ManifestEnding})
	case "rotate":
		return r.Rotate(args[0], repo.Rotation{Replace: strings.Join(args[1:], "")})
	case "sign":
		return r.Sign()
	}
	return r.Refresh(args)
}

// scene is a command that is to be killed, and what it starts from.
type scene struct {
	name    string
	before  func(t *testing.T, dir string) // on a repository with bottles/1 and cans/1
	command []string
	waits   bool   // it ends with a staged change, which `sign root-2.key` publishes
	gap     bool   // an old key is gone: devices may be refused between root and timestamp
	done    string // what the same command says once everything is done
	daily   string // the refresh of the day; "": refresh
	target  string // that must be there at the end, beside bottles/1 and cans/1
	root    bool   // a second root must be there at the end
}

func away(keys ...string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		for _, k := range keys {
			must(t, os.MkdirAll(filepath.Join(dir, "away"), 0o700))
			must(t, os.Rename(filepath.Join(dir, "keys", k+".key"), filepath.Join(dir, "away", k+".key")))
		}
	}
}

func TestKilledAtEachWriteOfAPublication(t *testing.T) {
	base := filepath.Join(t.TempDir(), "base")
	_, err := repo.Init(conf(base), repo.InitOptions{RootKeys: 3, Threshold: 2, Expiry: repo.DefaultExpiry()})
	must(t, err)
	bundle := filepath.Join(t.TempDir(), "bundle")
	must(t, os.WriteFile(bundle, []byte("weights"), 0o600))
	for _, name := range []string{"bottles/1", "cans/1"} {
		_, err := command(base, "add", bundle, name)
		must(t, err)
	}
	staged := func(role string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			away("root-2", "root-3")(t, dir)
			_, err := command(dir, "rotate", role)
			must(t, err)
		}
	}
	sign := []string{"sign", "away/root-2.key"}
	for _, s := range []scene{
		{name: "add a version", command: []string{"add", bundle, "bottles/2"}, target: "bottles/2"},
		{name: "add a family", command: []string{"add", bundle, "jars/1"}, target: "jars/1"},
		{name: "rotate timestamp", root: true, command: []string{"rotate", "timestamp"}},
		{name: "rotate snapshot", root: true, command: []string{"rotate", "snapshot"}},
		{name: "rotate targets", root: true, command: []string{"rotate", "targets"}},
		{name: "rotate root", root: true, command: []string{"rotate", "root", "root-1"}, done: "its keys are root-2, root-3, root-4"},
		{name: "rotate a family", command: []string{"rotate", "bottles"}},
		{name: "rotate, to be signed by another", root: true, before: away("root-2", "root-3"), command: []string{"rotate", "timestamp"}, waits: true},
		{name: "sign", root: true, before: staged("timestamp"), command: sign},
		{name: "sign targets", root: true, before: staged("targets"), command: sign},
		{name: "rotate a lost key", root: true, before: away("timestamp-1"), command: []string{"rotate", "timestamp"}, gap: true},
		{name: "refresh", command: []string{"refresh"}},
		{name: "refresh in a week", command: []string{"refresh in a week"}, daily: "refresh in a week"},
		{name: "refresh roles", root: true, command: []string{"refresh", "root", "targets", "bottles"}},
	} {
		t.Run(s.name, func(t *testing.T) { s.run(t, base) }) // not beside each other: a fork keeps the lock of a repository until its exec
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run kills the command at its first write, at its second, and so on; each time the devices must find one whole, old or new, and the same
// command again must come to its end.
func (s scene) run(t *testing.T, base string) {
	start := filepath.Join(t.TempDir(), "start")
	must(t, os.CopyFS(start, os.DirFS(base)))
	if s.before != nil {
		s.before(t, start)
	}
	known := filepath.Join(t.TempDir(), "known") // what a device keeps that has seen the old whole
	must(t, look(start, known, 99))
	step := 41
	switch {
	case os.Getenv("HERON_SLOW") != "": // each of them: two minutes on an idle machine, 641 kills
		step = 1
	case testing.Short():
		step = 97
	}
	for n := 1; ; n += step {
		dir := filepath.Join(t.TempDir(), "repo")
		must(t, os.CopyFS(dir, os.DirFS(start)))
		c := exec.Command(os.Args[0])
		c.Env = []string{orders + "=" + strings.Join(append([]string{dir}, s.command...), "\n"), "GOMAXPROCS=1", "GOGC=off"} // little to trace
		call, code := killAt(t, c, dir, n)
		if call == "" && code != 0 {
			t.Fatalf("by itself it ended with %d", code)
		}
		where := fmt.Sprintf("killed at the %d. change (%s)", n, call)
		device := filepath.Join(t.TempDir(), "device")
		must(t, os.CopyFS(device, os.DirFS(known)))
		if !s.gap {
			s.devicesAfter(t, where, dir, device)
			if err := lookSlowly(t, dir); err != nil {
				t.Errorf("%s: to one that asked for root just before: %v", where, err)
			}
		}
		s.again(t, where, dir)
		s.devicesAfter(t, where+" and run again", dir, device)
		if t.Failed() {
			t.FailNow()
		}
		if call == "" {
			t.Logf("%d changes of files", n-1)
			return
		}
	}
}

// devicesAfter looks with a new one, and with one that knows the old whole.
func (s scene) devicesAfter(t *testing.T, where, dir, known string) {
	t.Helper()
	if err := errors.Join(look(dir, filepath.Join(t.TempDir(), "new"), 99), look(dir, known, 99)); err != nil {
		t.Errorf("%s: %v", where, err)
	}
}

// again runs the same command, which finishes, or says that another must sign.
func (s scene) again(t *testing.T, where, dir string) {
	t.Helper()
	res, err := command(dir, s.command[0], s.command[1:]...)
	if s.waits && (errors.Is(err, repo.ErrStaged) || len(res.Missing) > 0) {
		res, err = command(dir, "sign", "away/root-2.key")
	}
	if s.done != "" && err != nil && strings.Contains(err.Error(), s.done) {
		err, res.Published = nil, true
	}
	if err != nil || (!res.Published && res.Note == "") {
		t.Errorf("%s: again: %+v, %v", where, res, err)
	}
	for _, pattern := range []string{"staged", ".staged-*", ".dropped", "public/metadata/.*", "public/targets/*/.*", "keys/.*"} {
		if left, err := filepath.Glob(filepath.Join(dir, pattern)); err != nil || len(left) > 0 {
			t.Errorf("%s: again: left behind: %v, %v", where, left, err)
		}
	}
	if s.root {
		if _, err := os.Stat(filepath.Join(dir, "public/metadata/2.root.json")); err != nil {
			t.Errorf("%s: again: %v", where, err)
		}
	}
	if s.target != "" {
		if err := holds(dir, s.target); err != nil {
			t.Errorf("%s: again: %v", where, err)
		}
	}
	if _, err := command(dir, cmp.Or(s.daily, "refresh")); err != nil {
		t.Errorf("%s: the daily refresh: %v", where, err)
	}
}

// upTo hides the roots after a version.
type upTo struct {
	trust.Files
	root int
}

func (f upTo) Get(ctx context.Context, address string, limit int64) ([]byte, error) {
	var n int
	if _, err := fmt.Sscanf(filepath.Base(address), "%d.root.json", &n); err == nil && n > f.root {
		return nil, fs.ErrNotExist
	}
	return f.Files.Get(ctx, address, limit)
}

func client(dir, cache string, root int) (*trust.Client, error) {
	first, err := os.ReadFile(filepath.Join(dir, "public/metadata/1.root.json"))
	if err != nil {
		return nil, err
	}
	base := (&url.URL{Scheme: "file", Path: filepath.Join(dir, "public")}).String()
	return trust.Open(trust.Config{Dir: cache, Root: first, MetadataURL: base + "/metadata", TargetsURL: base + "/targets", Fetch: upTo{root: root}})
}

// look is a device that refreshes, and reads every target that is signed; those that were published at the start must be among them.
func look(dir, cache string, root int) error {
	c, err := client(dir, cache, root)
	if err != nil {
		return err
	}
	if err := c.Refresh(context.Background()); err != nil {
		return err
	}
	for _, name := range []string{"bottles/1", "cans/1"} {
		if _, err := c.Target(context.Background(), name); err != nil {
			return err
		}
	}
	all, err := c.All(context.Background())
	if err != nil {
		return err
	}
	for _, t := range all {
		file, err := trust.FilePath(t.URLs[0])
		if err = errors.Join(err, trust.Matches(t, file)); err != nil {
			return err
		}
	}
	return nil
}

// lookSlowly is a device that asked for the newest root just before it was there, and for the rest after.
func lookSlowly(t *testing.T, dir string) error {
	roots, err := filepath.Glob(filepath.Join(dir, "public/metadata/*.root.json"))
	if err != nil || len(roots) < 2 {
		return err
	}
	return look(dir, filepath.Join(t.TempDir(), "slow"), len(roots)-1)
}

func holds(dir, target string) error {
	cache, err := os.MkdirTemp("", "heron-test-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(cache)
	c, err := client(dir, cache, 99)
	if err != nil {
		return err
	}
	_, err = c.Target(context.Background(), target)
	return err
}
