package trust

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"heron/internal/atomicfile"
)

// commandWithin bounds one run of Command.
const commandWithin = 10 * time.Minute

// Command is the command line that the public TUF client conformance suite drives: init ROOT, refresh, download. It returns 0 or 1.
func Command(args []string, errOut io.Writer) int {
	ctx, cancel := context.WithTimeout(context.Background(), commandWithin)
	defer cancel()
	if err := command(ctx, args, errOut); err != nil {
		fmt.Fprintln(errOut, "heron-tuf:", err)
		return 1
	}
	return 0
}

type commandFlags struct{ dir, metadataURL, targetsURL, targetDir string }

func command(ctx context.Context, args []string, errOut io.Writer) error {
	var f commandFlags
	var names []string
	set := flag.NewFlagSet("heron-tuf", flag.ContinueOnError)
	set.SetOutput(errOut)
	set.StringVar(&f.dir, "metadata-dir", "", "`folder` of the trusted metadata")
	set.StringVar(&f.metadataURL, "metadata-url", "", "base `URL` of the metadata")
	set.StringVar(&f.targetsURL, "target-base-url", "", "base `URL` of the targets")
	set.StringVar(&f.targetDir, "target-dir", "", "`folder` for downloaded targets")
	set.Func("target-name", "target `path`; may be repeated", func(s string) error { names = append(names, s); return nil })
	if err := set.Parse(args); err != nil {
		return err
	}
	if f.dir == "" {
		return errors.New("--metadata-dir is missing")
	}
	switch set.Arg(0) {
	case "init":
		return f.init(set.Arg(1))
	case "refresh":
		c, err := f.open()
		if err != nil {
			return err
		}
		return c.Refresh(ctx)
	case "download":
		return f.download(ctx, names)
	}
	return fmt.Errorf("the command is %q; it must be init ROOT, refresh or download", set.Arg(0))
}

func (f commandFlags) init(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if _, err := Open(Config{Dir: f.dir, Root: data}); err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(f.dir, "root.json"), data, 0o600)
}

func (f commandFlags) open() (*Client, error) {
	if f.metadataURL == "" {
		return nil, errors.New("--metadata-url is missing")
	}
	now, err := pretendedTime(os.Getenv("FAKETIME"))
	if err != nil {
		return nil, err
	}
	return Open(Config{Dir: f.dir, MetadataURL: f.metadataURL, TargetsURL: f.targetsURL, Now: now})
}

// pretendedTime reads what the faketime program, which cannot reach into a static Go program, leaves in the environment: a moment, or how far
// the clock is put forward or back, in seconds or in what a letter behind the number says.
func pretendedTime(text string) (func() time.Time, error) {
	if text == "" {
		return nil, nil
	}
	if text[0] == '+' || text[0] == '-' {
		unit := map[byte]time.Duration{'m': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'y': 365 * 24 * time.Hour}[text[len(text)-1]]
		number := text
		if unit == 0 {
			unit = time.Second
		} else {
			number = text[:len(text)-1]
		}
		if n, err := strconv.ParseFloat(number, 64); err == nil && math.Abs(n*float64(unit)) < math.MaxInt64 {
			return func() time.Time { return time.Now().Add(time.Duration(n * float64(unit))) }, nil
		}
	}
	for _, layout := range []string{"2006-01-02 15:04:05-07:00", "2006-01-02 15:04:05"} {
		if at, err := time.ParseInLocation(layout, strings.TrimPrefix(text, "@"), time.Local); err == nil {
			return func() time.Time { return at }, nil
		}
	}
	return nil, fmt.Errorf("FAKETIME is %q; it must be a date and a time, or +SECONDS", text)
}

func (f commandFlags) download(ctx context.Context, names []string) error {
	if len(names) == 0 || f.targetsURL == "" || f.targetDir == "" {
		return errors.New("download needs --target-name, --target-base-url and --target-dir")
	}
	c, err := f.open()
	if err != nil {
		return err
	}
	if err := c.Refresh(ctx); err != nil {
		return err
	}
	for _, name := range names {
		t, err := c.Target(ctx, name)
		if err != nil {
			return err
		}
		if err := NewHTTP(nil).Download(ctx, t, filepath.Join(f.targetDir, url.QueryEscape(name))); err != nil {
			return err
		}
	}
	return nil
}
