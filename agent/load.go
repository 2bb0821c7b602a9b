package agent

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"heron/agent/diag"
	"heron/agent/events"
	"heron/internal/strictyaml"
)

// DefaultPath is where the configuration is looked for.
const DefaultPath = "/etc/heron/heron.yaml"

// ConfigError is a configuration that cannot be used: Error is one line, Detail has the excerpt.
type ConfigError struct {
	File         string
	Line, Column int // 0: not known
	What         string
	Excerpt      string
}

func (e *ConfigError) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.What
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.What)
}

// Load reads path strictly, lays the environment over it (HERON_UPLINK_BROKER sets uplink.broker), fills in defaults and validates.
// Relative paths in the file count from the file's folder. Errors are *ConfigError.
func Load(path string, environ []string) (*Config, error) {
	src, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &ConfigError{File: path, What: "no such file; write one (docs/config.md) or name another with --config"}
	}
	if err != nil {
		return nil, &ConfigError{File: path, What: err.Error()}
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, &ConfigError{File: path, What: err.Error()}
	}
	c, err := parse(src, environ)
	var cerr *ConfigError
	if errors.As(err, &cerr) {
		cerr.File = path
		return nil, cerr
	}
	c.resolve(filepath.Dir(abs))
	return c, nil
}

// parse does all of Load but the file.
func parse(src []byte, environ []string) (*Config, error) {
	c := &Config{Events: events.DefaultConfig()}
	if len(strings.TrimSpace(string(src))) == 0 {
		return nil, &ConfigError{What: "is empty; docs/config.md shows a configuration to start from"}
	}
	if err := strictyaml.Unmarshal(src, c); err != nil {
		return nil, fromYAML(src, err)
	}
	if err := overlay(reflect.ValueOf(c).Elem(), "HERON", environ); err != nil {
		return nil, &ConfigError{What: err.Error()}
	}
	c.Defaults()
	err := c.Validate()
	var p *Problem
	if errors.As(err, &p) {
		return nil, locate(src, p)
	}
	return c, err
}

var yamlPlace = regexp.MustCompile(`^\[(\d+):(\d+)\] (.*)`)

// fromYAML turns the decoder's report on src into ours: first line "[line:column] what", the rest an excerpt.
func fromYAML(src []byte, err error) *ConfigError {
	var wrong *yaml.TypeError
	if wanted := errors.As(err, &wrong) && wrong.DstType == reflect.TypeFor[time.Duration](); wanted || strings.HasPrefix(err.Error(), "time: ") {
		err = cmp.Or(misreadDuration(src, reflect.TypeFor[Config]()), err)
	}
	head, excerpt, _ := strings.Cut(yaml.FormatError(err, false, true), "\n")
	e := &ConfigError{What: head, Excerpt: diag.Mask(excerpt)} // it goes to the journal, too
	if m := yamlPlace.FindStringSubmatch(head); m != nil {
		fmt.Sscan(m[1], &e.Line)
		fmt.Sscan(m[2], &e.Column)
		e.What = m[3]
	}
	if errors.As(err, &wrong) && wrong.Token != nil {
		e.What = fmt.Sprintf("%q does not fit here, expected %s", wrong.Token.Value, kindName(wrong.DstType))
	}
	if strings.Contains(e.What, "unknown field") {
		e.What += "; see docs/config.md for the keys there are"
	}
	return e
}

// kindName says in a person's words what a field wants.
func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Int64:
		if t == reflect.TypeFor[time.Duration]() {
			return "a time with its unit, such as 5s"
		}
		fallthrough
	case reflect.Int:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "keys and values"
	}
	return "a text"
}

// locate finds the place of a problem in the source; where the key is absent, the nearest parent's.
func locate(src []byte, p *Problem) *ConfigError {
	e := &ConfigError{What: p.Error()}
	for path := p.Path; strings.HasPrefix(path, "$."); path = path[:strings.LastIndexAny(path, ".[")] {
		yp, err := yaml.PathString(path)
		if err != nil {
			break
		}
		node, err := yp.ReadNode(strings.NewReader(string(src)))
		if err != nil || node == nil || node.GetToken() == nil {
			continue
		}
		pos := node.GetToken().Position
		e.Line, e.Column = pos.Line, pos.Column
		if text, err := yp.AnnotateSource(src, false); err == nil {
			e.Excerpt = diag.Mask(string(text))
		}
		break
	}
	return e
}

// overlay sets every scalar that the environment names: the path's keys in capitals, joined by _.
func overlay(v reflect.Value, prefix string, environ []string) error {
	if v.Kind() == reflect.Struct && v.Type() != reflect.TypeFor[Size]() {
		for i := range v.NumField() {
			key, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
			if key == "" || key == "-" {
				continue
			}
			if err := overlay(v.Field(i), prefix+"_"+strings.ToUpper(key), environ); err != nil {
				return err
			}
		}
		return nil
	}
	for _, kv := range environ {
		if value, ok := strings.CutPrefix(kv, prefix+"="); ok {
			to := v.Addr()
			if v.Kind() == reflect.Pointer { // a value that may be left out; the decoder leaves pointers to pointers as they are
				v.Set(reflect.New(v.Type().Elem()))
				to = v
			}
			if err := yaml.Unmarshal([]byte(value), to.Interface()); err != nil {
				return fmt.Errorf("environment variable %s: %q does not fit: %s", prefix, value, fromYAML(nil, err).What)
			}
		}
	}
	return nil
}

// resolve makes relative paths count from dir.
func (c *Config) resolve(dir string) {
	abs := func(p *string) {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	abs(&c.Outbox.Path)
	abs(&c.Vision.Socket)
	abs(&c.Updates.Defer)
	cred := &c.Uplink.Credentials
	for _, p := range []*string{&cred.PasswordFile, &cred.Cert, &cred.Key, &cred.CA} {
		abs(p)
	}
	for i := range c.Models {
		abs(&c.Models[i].Bundle)
	}
	for i := range c.Cameras {
		abs(&c.Cameras[i].Credentials.PasswordFile)
		for _, scheme := range []string{"pictures:", "file:"} {
			if rest, ok := strings.CutPrefix(c.Cameras[i].Source, scheme); ok && !strings.HasPrefix(rest, "/") {
				c.Cameras[i].Source = scheme + filepath.Join(dir, rest)
			}
		}
	}
}

// Effective is the configuration with every default and overlay in place, as YAML, with users and passwords taken out.
func (c *Config) Effective() ([]byte, error) {
	r := *c
	r.Cameras = append([]Camera(nil), c.Cameras...)
	for i := range r.Cameras {
		r.Cameras[i].Source = redactSource(r.Cameras[i].Source)
	}
	return yaml.Marshal(&r)
}

// machineID is a name for this device that survives reinstalling Heron but tells nothing: a digest of the machine id,
// as machine-id(5) asks for; the host's name where there is none.
func machineID() string {
	b, err := os.ReadFile("/etc/machine-id")
	if err != nil || len(strings.TrimSpace(string(b))) < 32 {
		name, _ := os.Hostname()
		return strings.Trim(notLevel.ReplaceAllString("dev-"+strings.ToLower(name), "-"), "-")
	}
	sum := sha256.Sum256(append([]byte("heron device id "), b...))
	return "dev-" + hex.EncodeToString(sum[:6])
}

var notLevel = regexp.MustCompile(`[^a-z0-9_-]+`)
