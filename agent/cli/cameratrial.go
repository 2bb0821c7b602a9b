package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image/jpeg"
	"math"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"heron/agent"
	"heron/camera"
	"heron/internal/atomicfile"
	"heron/vision"
)

const (
	cameraFirst = 20 * time.Second // opening a network camera and its first frame
	cameraShot  = 10 * time.Second
)

// cameraReport is what `heron camera test --json` answers.
type cameraReport struct {
	Camera   string          `json:"camera"`
	Source   string          `json:"source"`
	OK       bool            `json:"ok"`
	FirstMS  float64         `json:"first_ms"` // from the start of heron-vision to the first frame; 0: none came
	Frames   uint64          `json:"frames"`
	Seconds  float64         `json:"seconds"`
	FPS      float64         `json:"fps"`
	JitterMS float64         `json:"jitter_ms"`
	Width    int             `json:"width"`
	Height   int             `json:"height"`
	Dropped  uint64          `json:"dropped"` // replaced by newer ones before anybody looked, as it must be
	Damaged  uint64          `json:"damaged"` // came and could not be decoded; frames and fps have none of them
	Reopened uint64          `json:"reopened"`
	Facts    []string        `json:"facts,omitempty"`
	Saved    string          `json:"saved,omitempty"`
	Note     string          `json:"note,omitempty"`
	Problems []cameraProblem `json:"problems,omitempty"`
}

type cameraProblem struct {
	What     string `json:"what"`
	NextStep string `json:"next_step,omitempty"`
}

func (r *cameraReport) problem(what, next string) {
	r.Problems = append(r.Problems, cameraProblem{what, next})
}

func (a *app) cameraTestCommand(command *string) *cobra.Command {
	var save string
	var long time.Duration
	c := &cobra.Command{Use: "test NAME|SOURCE", Short: "Open a camera, measure it, save a picture, and say what is wrong with it",
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, list []string) error {
			if long < 100*time.Millisecond || long > time.Hour {
				return usage("camera test: --for is %v, expected 100ms to 1h", long)
			}
			cam, err := a.cameraToTest(list[0])
			if err != nil {
				return err
			}
			if save == "" {
				save = cam.Name + ".jpg"
			}
			return a.cameraTest(c.Context(), *command, cam, save, long)
		}}
	c.Flags().StringVar(&save, "save", "", "write the picture to `FILE` (default NAME.jpg)")
	c.Flags().DurationVar(&long, "for", 5*time.Second, "measure for so long")
	return c
}

// cameraToTest is a configured camera by its name, or any source.
func (a *app) cameraToTest(what string) (vision.CameraConfig, error) {
	conf, err := agent.Load(a.configPath, os.Environ())
	if err == nil {
		for _, c := range conf.Cameras {
			if c.Name == what {
				return c.Vision(), nil
			}
		}
	}
	if strings.Contains(what, ":") {
		return vision.CameraConfig{Name: "camera", Source: what, FPS: 10}, nil
	}
	if err != nil {
		return vision.CameraConfig{}, err
	}
	var names []string
	for _, c := range conf.Cameras {
		names = append(names, c.Name)
	}
	return vision.CameraConfig{}, usage("camera test: %q is neither a camera of %s (%s) nor a source such as usb:SERIAL or rtsp://…", what, a.configPath, strings.Join(names, ", "))
}

func (a *app) cameraTest(ctx context.Context, command string, cam vision.CameraConfig, save string, long time.Duration) error {
	path, err := agent.FindVision(command)
	if err != nil {
		return err
	}
	opened := cam
	opened.Source = endless(cam.Source)
	client, end, err := startVision(ctx, vision.ClientConfig{Command: []string{path}, Config: vision.Config{Cameras: []vision.CameraConfig{opened}},
		BeatTimeout: classifyBeat, MaxMemory: 2 << 30})
	if err != nil {
		return err
	}
	defer end()
	t := &cameraTrial{client: client, cam: cam, long: long, report: cameraReport{Camera: cam.Name, Source: camera.Redact(cam.Source)}}
	if isTerminal(a.errOut) && !a.json {
		t.progress = func(line string) { fmt.Fprintf(a.errOut, "\r\033[K%s", line) }
	}
	if t.first(ctx) {
		t.measure(ctx)
		t.picture(ctx, save)
		t.judge()
	}
	if t.progress != nil {
		t.progress("")
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return a.printCameraReport(t.report)
}

// endless makes a source of one that would end before it is measured and its picture is taken: a folder of pictures or a video goes round.
func endless(source string) string {
	if a, err := camera.ParseAddress(source, "loop"); err == nil && (a.Scheme == "file" || a.Scheme == "pictures") {
		return a.Scheme + ":" + a.Path + "?loop=true"
	}
	return source
}

// cameraTrial is one test of one camera.
type cameraTrial struct {
	client   *vision.Client
	cam      vision.CameraConfig
	long     time.Duration
	report   cameraReport
	shot     vision.Picture
	progress func(line string) // nil: nobody watches
}

func (t *cameraTrial) tell(format string, args ...any) {
	if t.progress != nil {
		t.progress(t.cam.Name + ": " + fmt.Sprintf(format, args...))
	}
}

// stats are the camera's of the last beat.
func (t *cameraTrial) stats() (vision.CameraStats, bool) {
	if s := t.client.Stats(); len(s.Cameras) == 1 {
		return s.Cameras[0], true
	}
	return vision.CameraStats{}, false
}

const cameraPoll = 20 * time.Millisecond

// first waits for the first frame; false with the problem in the report when none came.
func (t *cameraTrial) first(ctx context.Context) bool {
	began := time.Now()
	for time.Since(began) < max(cameraFirst, t.cam.Stall) && ctx.Err() == nil {
		s, ok := t.stats()
		if ok && s.Read > 0 {
			t.report.FirstMS = math.Round(float64(time.Since(began).Milliseconds()))
			return true
		}
		if ok && (s.Errors >= s.Damaged+3 || s.Damaged > 0 && s.Reopened >= 3) { // said the same thing three times, with a pause between
			break
		}
		if c := t.client.Stats(); c.Restarts > 0 && !ok {
			t.report.problem(c.LastReason, "run heron-vision --version; it must start")
			return false
		}
		t.tell("opening, %.0f s %s", time.Since(began).Seconds(), s.LastError)
		time.Sleep(cameraPoll)
	}
	s, _ := t.stats()
	t.report.Damaged = s.Damaged
	c := t.client.Stats()
	switch {
	case s.Damaged > 0:
		t.report.problem(fmt.Sprintf("%d frames came, and none could be decoded: %s", s.Damaged, s.LastError), cameraNext(t.cam.Source, s.LastError))
	case s.LastError != "":
		t.report.problem(s.LastError, cameraNext(t.cam.Source, s.LastError))
	case c.Restarts > 0:
		t.report.problem(c.LastReason, cameraAgain(t.cam.Source))
	case ctx.Err() == nil:
		t.report.problem(fmt.Sprintf("no frame came within %v", max(cameraFirst, t.cam.Stall)), "look at the cable and the power; try a smaller size")
	}
	return false
}

// measure counts frames between the first and the last beat that told of new ones.
func (t *cameraTrial) measure(ctx context.Context) {
	s, _ := t.stats()
	began := time.Now()
	first, from := s, time.Time{}
	last, to := s, began
	for time.Since(began) < t.long && ctx.Err() == nil && t.client.Stats().State != vision.StateEnded {
		if s, ok := t.stats(); ok && s.Read != last.Read {
			last, to = s, time.Now()
			if from.IsZero() {
				first, from = s, to
			}
			if t.shot.JPEG == nil { // a source may end before the test does
				t.take(ctx)
			}
		}
		t.tell("%.1f s, %d frames, %d×%d", time.Since(began).Seconds(), last.Read, last.Width, last.Height)
		time.Sleep(cameraPoll)
	}
	r := &t.report
	r.Frames, r.Seconds = last.Read-first.Read, to.Sub(from).Seconds()
	if from.IsZero() || r.Frames == 0 {
		r.Frames, r.Seconds = last.Read, time.Since(began).Seconds()
	}
	if r.Seconds > 0 {
		r.FPS = round2(float64(r.Frames) / r.Seconds)
	}
	r.Seconds, r.JitterMS = round2(r.Seconds), round2(1000*last.Jitter)
	if end, ok := t.stats(); ok {
		last = end
	}
	r.Damaged = last.Damaged
	r.Width, r.Height, r.Dropped, r.Reopened = last.Width, last.Height, last.Dropped, last.Reopened
	switch {
	case last.Reopened > 0 || last.State == string(camera.Reopening):
		r.problem(fmt.Sprintf("it had to be opened anew %d times: %s", last.Reopened, last.LastError), cameraNext(t.cam.Source, last.LastError))
	case t.client.Stats().Restarts > 0:
		r.problem(t.client.Stats().LastReason, cameraAgain(t.cam.Source))
	case last.LastError != "":
		r.Note = last.LastError
	}
}

func (t *cameraTrial) take(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, cameraShot)
	defer cancel()
	p, err := t.client.Snapshot(ctx, t.cam.Name, vision.SnapshotOptions{})
	if err == nil {
		t.shot = p
	}
	return err
}

// picture saves the newest frame, as the model would see it, and looks at it.
func (t *cameraTrial) picture(ctx context.Context, save string) {
	if err := t.take(ctx); err != nil && t.shot.JPEG == nil {
		t.report.problem("no picture could be taken: "+err.Error(), "")
		return
	}
	if err := atomicfile.Write(save, t.shot.JPEG, 0o644); err != nil {
		t.report.problem("the picture was not saved: "+err.Error(), "name another file with --save")
	} else {
		t.report.Saved = save
	}
	f, err := frameOf(t.shot.JPEG)
	if err != nil {
		t.report.problem("the picture cannot be decoded: "+err.Error(), "")
		return
	}
	t.cam.View.Hide(f)
	t.report.Facts = (&camera.Quality{}).Assess(f, false)
}

func frameOf(data []byte) (*camera.Frame, error) {
	m, err := jpeg.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	b := m.Bounds()
	f := &camera.Frame{Width: b.Dx(), Height: b.Dy(), Stride: 3 * b.Dx(), At: time.Now()}
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			red, green, blue, _ := m.At(x, y).RGBA()
			f.Pix = append(f.Pix, byte(blue>>8), byte(green>>8), byte(red>>8))
		}
	}
	return f, nil
}

// factNext is what to do about a fact.
var factNext = map[string]string{
	camera.Black: "take the cap off, switch the light on, or set controls.exposure", camera.Covered: "look at the lens: something lies on it",
	camera.Overexposed: "turn it away from the light, or set controls.exposure lower", camera.Underexposed: "give it more light, or set controls.exposure higher",
	camera.Blurred: "clean and focus the lens, or set controls.focus", camera.NoSignal: "look at the cable: what comes is no picture of anything",
}

// judge names what is wrong with a camera that gives frames.
func (t *cameraTrial) judge() {
	r := &t.report
	for _, fact := range r.Facts {
		r.problem("the picture is "+fact, factNext[fact])
	}
	s, _ := t.stats()
	ended := t.client.Stats().State == vision.StateEnded
	if s.Live && !ended && t.cam.FPS > 0 && r.FPS < 0.8*t.cam.FPS {
		next := "ask for a smaller size, give it more light, or set fps to what it can do"
		if r.Damaged > 0 {
			next = cameraNext(t.cam.Source, s.LastError)
		}
		r.problem(fmt.Sprintf("it gives %.1f frames a second, and %v are wanted", r.FPS, t.cam.FPS), next)
	}
}

func (a *app) printCameraReport(r cameraReport) error {
	r.OK = len(r.Problems) == 0
	if a.json {
		if err := json.NewEncoder(a.out).Encode(r); err != nil {
			return err
		}
	} else {
		fmt.Fprint(a.out, cameraText(r))
	}
	if !r.OK {
		return &codedError{exitFailed, errors.New("")}
	}
	return nil
}

func damagedText(n uint64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("; %d more could not be decoded", n)
}

func cameraText(r cameraReport) string {
	var b strings.Builder
	if r.FirstMS > 0 {
		fmt.Fprintf(&b, "%s (%s): %d×%d, %.1f frames a second (%d in %.1f s), jitter %.1f ms, first frame after %.1f s, %d replaced by newer ones%s\n",
			r.Camera, r.Source, r.Width, r.Height, r.FPS, r.Frames, r.Seconds, r.JitterMS, r.FirstMS/1000, r.Dropped, damagedText(r.Damaged))
	}
	if r.Saved != "" {
		fmt.Fprintf(&b, "picture: %s\n", r.Saved)
	}
	if r.Note != "" {
		fmt.Fprintf(&b, "note: %s\n", r.Note)
	}
	for _, p := range r.Problems {
		fmt.Fprintf(&b, "wrong: %s\n", p.What)
		if p.NextStep != "" {
			fmt.Fprintf(&b, "  next: %s\n", p.NextStep)
		}
	}
	if len(r.Problems) == 0 {
		fmt.Fprintln(&b, "good")
	}
	return b.String()
}
