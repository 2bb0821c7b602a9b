package camera

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// The largest picture that is decoded, from whatever it comes, and so the largest that can be asked for.
const (
	MaxPixels = 100_000_000
	MaxSide   = 65535
)

// CheckSource says what would keep a source from being opened anywhere: an option that there is not, an address that cannot be one. It reads it as the
// drivers do, opens nothing, and leaves to them what only they know: pipelines, and the names of USB cameras.
func CheckSource(source string) error {
	var err error
	switch Scheme(source) {
	case "v4l2":
		_, err = ParseAddress(source)
	case "csi":
		if _, err = ParseBoard(source); err != nil {
			err = fmt.Errorf("%s: %w", source, err)
		}
	case "testcard":
		_, err = ParseCard(source, 0, 0)
	case "file", "pictures":
		_, _, err = ParseRecording(source)
	case "rtsp", "rtsps", "http", "https", "snapshot+http", "snapshot+https":
		_, err = ParseURL(source)
	}
	return err
}

// CheckSize says whether a source can be asked for pictures of this size; 0 is its own.
func CheckSize(source string, width, height int) error {
	if Scheme(source) == "testcard" {
		_, err := ParseCard(source, width, height)
		return err
	}
	return CheckPixels(width, height)
}

// CheckPixels refuses what exceeds the limits.
func CheckPixels(width, height int) error {
	if width > MaxSide || height > MaxSide || int64(width)*int64(height) > MaxPixels {
		return fmt.Errorf("%d×%d pixels are more than the limits of %d megapixels and %d pixels a side", width, height, MaxPixels/1_000_000, MaxSide)
	}
	return nil
}

// ParseRecording takes a file: or pictures: source apart.
func ParseRecording(source string) (path string, loop bool, err error) {
	a, err := ParseAddress(source, "loop")
	if err != nil {
		return "", false, err
	}
	if a.Path == "" {
		missing := map[string]string{"file": "no file given: write file:/video.mp4", "pictures": "no folder given: write pictures:/folder or pictures:/folder/one.jpg"}
		return "", false, fmt.Errorf("%s: %s", a.Scheme, missing[a.Scheme])
	}
	loop, err = a.Flag("loop")
	return a.Path, loop, err
}

// TestCard is a testcard: source taken apart.
type TestCard struct{ Width, Height, FPS int }

// ParseCard takes a testcard: source apart. Its own size comes before the one that is wanted; 0 is whichever.
func ParseCard(source string, width, height int) (c TestCard, err error) {
	a, err := ParseAddress(source, "width", "height", "fps")
	if err != nil {
		return TestCard{}, err
	}
	if a.Path != "" {
		return TestCard{}, fmt.Errorf("testcard: takes no path, got %q", a.Path)
	}
	if c.Width, err = a.number("width", width, 640, 16, 8192); err != nil {
		return TestCard{}, err
	}
	if c.Height, err = a.number("height", height, 480, 16, 8192); err != nil {
		return TestCard{}, err
	}
	c.FPS, err = a.number("fps", 0, 25, 1, 1000)
	return c, err
}

// number reads a whole number from the query, else takes wanted, else standard.
func (a Address) number(key string, wanted, standard, least, most int) (int, error) {
	n := wanted
	if s := a.Query.Get(key); s != "" {
		v, err := strconv.Atoi(s)
		if err != nil {
			return 0, fmt.Errorf("%s: %s %q is not a whole number", a.Scheme, key, s)
		}
		n = v
	} else if wanted == 0 {
		n = standard
	}
	if n < least || n > most {
		return 0, fmt.Errorf("%s: %s %d is not between %d and %d", a.Scheme, key, n, least, most)
	}
	return n, nil
}

// plainName is what may stand in a pipeline between quotes.
var plainName = regexp.MustCompile(`^[A-Za-z0-9@/_.,:+-]*$`)

// ParseBoard is which board camera a csi: source names: empty, a number, or a sensor's name.
func ParseBoard(source string) (which string, err error) {
	_, which, _ = strings.Cut(source, ":")
	if !plainName.MatchString(which) {
		return "", errors.New("expected csi:, csi:0, csi:1 or the name of a sensor such as csi:imx708")
	}
	return which, nil
}

// ParseURL takes the source of a network camera apart, snapshot+ left away. What is wrong is told without what could be a password: of one with a
// slash, the port may be a part.
func ParseURL(source string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimPrefix(source, "snapshot+"))
	if err != nil || u.Hostname() == "" {
		return nil, fmt.Errorf("%s: the URL has no host, or a character in it needs %%-encoding: write scheme://host:port/path", Redact(source))
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, fmt.Errorf("%s: the URL's port is not between 1 and 65535", Redact(source))
		}
	}
	return u, nil
}
