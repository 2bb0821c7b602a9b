package repo

import (
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// The lengths are counted beside these patterns: {0,63} in one costs 100 kB in every process that has this package, devices too.
var (
	familyForm  = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*$`)
	versionForm = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.+_-]*$`)
)

// isFamily says whether a family, and so a delegated role, may be called that: a level of a topic, and never a role of root.
func isFamily(name string) bool { return len(name) <= 64 && familyForm.MatchString(name) }

// isTarget says whether a name is FAMILY/VERSION, with a version of so many bytes at most.
func isTarget(name string, most int) bool {
	family, version, _ := strings.Cut(name, "/")
	return isFamily(family) && len(version) <= most && versionForm.MatchString(version)
}

const (
	versionBytes = 64
	besideBytes  = 144 // of what is signed beside a bundle: two versions fit into it
)

func checkFamily(name string) error {
	switch {
	case !isFamily(name):
		return misuse("family %q: lower case letters, digits, - and _ only, 64 at most, the first no - and no _; it is the name in the bundle's manifest.json", name)
	case name == metadata.ROOT || name == metadata.TARGETS || name == metadata.SNAPSHOT || name == metadata.TIMESTAMP:
		return misuse("family %q: that is the name of a role; it is the name in the bundle's manifest.json", name)
	}
	return nil
}

// CheckTarget says what keeps FAMILY/VERSION, name and version of a bundle's manifest, from being a target.
func CheckTarget(name string) error {
	family, version, both := strings.Cut(name, "/")
	if !both {
		return misuse("target %q: it must be FAMILY/VERSION, such as bottles/1.4.2", name)
	}
	if err := checkFamily(family); err != nil {
		return err
	}
	if !isTarget(name, versionBytes) || isBeside(name) {
		return misuse("version %q of %s: letters, digits, . + - and _ only, %d at most, the first a letter or a digit", version, family, versionBytes)
	}
	return nil
}

// NameOf guesses FAMILY/VERSION from a bundle's file name, such as bottles-1.4.2.tar.zst.
func NameOf(file string) (string, error) {
	base := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(file), ".zst"), ".tar")
	i := strings.LastIndex(base, "-")
	if i < 1 {
		return "", misuse("%s: the file name is not FAMILY-VERSION.tar.zst; name the target with --as FAMILY/VERSION", filepath.Base(file))
	}
	name := base[:i] + "/" + base[i+1:]
	if err := CheckTarget(name); err != nil {
		return "", misuse("%s: the file name is not FAMILY-VERSION.tar.zst: %v; if the file is called wrong, name the target with --as", filepath.Base(file), err)
	}
	return name, nil
}

// CompareVersions orders versions as people do: numbers by their value, and 1.4.2-rc1 before 1.4.2.
func CompareVersions(a, b string) int {
	for a != "" && b != "" {
		x, restA := chunk(a)
		y, restB := chunk(b)
		m, errA := strconv.ParseUint(x, 10, 64)
		n, errB := strconv.ParseUint(y, 10, 64)
		switch {
		case errA == nil && errB == nil && m != n:
			if m < n {
				return -1
			}
			return 1
		case (errA != nil || errB != nil) && x != y:
			return strings.Compare(x, y)
		}
		a, b = restA, restB
	}
	switch {
	case strings.HasPrefix(a, "-"):
		return -1
	case strings.HasPrefix(b, "-"):
		return 1
	}
	return len(a) - len(b)
}

// chunk cuts off the digits, or what is no digit, at the beginning.
func chunk(s string) (first, rest string) {
	digit := func(c byte) bool { return c >= '0' && c <= '9' }
	i := 1
	for i < len(s) && digit(s[i]) == digit(s[0]) {
		i++
	}
	return s[:i], s[i:]
}
