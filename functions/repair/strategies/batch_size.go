package strategies

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/mlops-bot/mlops-bot/functions/repair/edit"
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// halveBatchSize halves the training's batch size where the repository's own
// configuration holds it, and doubles gradient accumulation beside it, so that the
// effective batch stays.
type halveBatchSize struct{}

var _ Strategy = halveBatchSize{}

func (halveBatchSize) ID() string { return "halve-batch-size" }

func (halveBatchSize) Applies(f domain.Finding) bool {
	return f.Category == "cuda-oom" || f.Category == "oom-killed"
}

// Keys by their letters alone: per_device_train_batch_size and --batch-size are
// written in many ways.
var (
	batchKeys = []string{
		"batchsize", "trainbatchsize", "trainingbatchsize", "batchsizetrain", "perdevicetrainbatchsize", "pergputrainbatchsize", "perdevicebatchsize", "batchsizeperdevice",
		"batchsizepergpu", "devicebatchsize", "minibatchsize", "microbatchsize", "trainmicrobatchsizepergpu", "microbatchsizepergpu",
	}
	accumulationKeys = []string{
		"gradientaccumulationsteps", "gradaccumulationsteps", "gradaccumsteps", "accumulategradbatches", "gradientaccumulation", "gradaccumulation", "gradaccum", "accumulationsteps", "accumsteps",
	}
	otherPhase = regexp.MustCompile(`(?i)(?:\A|[^a-z])(?:eval|evaluation|val|valid|validation|test|testing|infer|inference|predict|prediction|serve|serving)(?:[^a-z]|\z)`)
)

func letters(key string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(key))
}

func isBatch(key string) bool        { return slices.Contains(batchKeys, letters(key)) }
func isAccumulation(key string) bool { return slices.Contains(accumulationKeys, letters(key)) }

// setting is a number in a file.
type setting struct {
	path string
	raw  []byte
	edit.Integer
	// beside are the other numbers of the same file or command.
	beside []edit.Integer
}

func (s halveBatchSize) Plan(ctx context.Context, tree Tree, f domain.Finding) (domain.Plan, error) {
	w, err := readWorkflow(ctx, tree, f.Workflow)
	if err != nil {
		return domain.Plan{}, err
	}
	j, err := w.job(f)
	if err != nil {
		return domain.Plan{}, err
	}
	found, err := s.search(ctx, tree, w, j, j.step(f), f.Category == "cuda-oom")
	if err != nil {
		return domain.Plan{}, err
	}
	if found.Value < 2 {
		return domain.Plan{}, refuse("the batch size in %s is %d already: memory has to be saved in another way", found.path, found.Value)
	}
	c := changes{}
	half := found.Value / 2
	c.add(found.path, found.Set(found.raw, half))
	name := strings.Join(found.Path, ".")
	rationale := fmt.Sprintf("The job ran out of memory. %s in %s (line %d) goes from %d to %d, which about halves what a training step keeps in memory.", code(name), code(found.path), found.Line, found.Value, half)
	if acc, ok := accumulation(found); ok {
		c.add(found.path, acc.Set(found.raw, acc.Value*2))
		rationale += fmt.Sprintf(" %s goes from %d to %d, so that the effective batch, and with it the training, stays what it was.", code(strings.Join(acc.Path, ".")), acc.Value, acc.Value*2)
	} else {
		rationale += " There is no gradient accumulation beside it, so the effective batch is halved too: look at the learning rate if results matter in this job."
	}
	if asked := f.Fact("asked_bytes"); asked != "" {
		rationale += fmt.Sprintf(" The allocation that failed asked for %s bytes.", code(asked))
	}
	return domain.Plan{
		Strategy: s.ID(), Action: domain.ActionEdit,
		Title:     fmt.Sprintf("Halve the batch size from %d to %d", found.Value, half),
		Rationale: rationale, Risk: domain.RiskMedium, Edits: c.edits(),
		Verify: "The step runs within the memory that the runner has.",
	}, nil
}

// accumulation finds the gradient accumulation that belongs to a batch size: in
// the same section, or the only one of the file.
func accumulation(s setting) (edit.Integer, bool) {
	var all, siblings []edit.Integer
	for _, i := range s.beside {
		if !isAccumulation(i.Key()) || i.Value < 1 || i.Value > 1<<20 {
			continue
		}
		all = append(all, i)
		if slices.Equal(i.Path[:len(i.Path)-1], s.Path[:len(s.Path)-1]) {
			siblings = append(siblings, i)
		}
	}
	if len(siblings) == 1 {
		return siblings[0], true
	}
	if len(siblings) == 0 && len(all) == 1 {
		return all[0], true
	}
	return edit.Integer{}, false
}

var configExtensions = []string{".yml", ".yaml", ".json", ".toml", ".ini", ".cfg", ".conf"}

// search finds the one batch size that the failed step trains with. Places that
// the step names win over those that it may read.
func (halveBatchSize) search(ctx context.Context, tree Tree, w *workflow, j *job, failed *step, anywhere bool) (setting, error) {
	paths, err := tree.Paths(ctx)
	if err != nil {
		return setting{}, err
	}
	b := &batchSearch{follower: follower{readFile: reading(ctx, tree), w: w, j: j, seen: map[string]bool{}}, paths: map[string]bool{}}
	for _, p := range paths {
		b.paths[p] = true
	}
	b.visit = b.command
	for i := range j.steps {
		if failed == nil || failed == &j.steps[i] {
			b.follow(&j.steps[i])
			b.env(edit.Get(j.steps[i].node, "env"))
		}
	}
	b.env(edit.Get(j.node, "env"))
	b.env(edit.Get(w.y.Root, "env"))
	b.files()
	if b.err != nil {
		return setting{}, b.err
	}
	if len(b.direct) > 0 {
		return one(b.direct, "the failed step")
	}
	if len(b.configs) > 0 {
		return one(b.configs, "the configuration that the failed step reads")
	}
	if b.opaque != "" {
		return setting{}, refuse("the batch size of the failed step is %q, whose value the bot can't change with certainty", b.opaque)
	}
	if !anywhere {
		return setting{}, refuse("nothing in the failed step names a batch size or a configuration with one: that it trains a model is not certain")
	}
	var all []setting
	for _, p := range paths {
		if !slices.Contains(configExtensions, strings.ToLower(path.Ext(p))) || vendored(p) || testPath(p) || strings.HasPrefix(p, ".") || len(b.looked) > 60 {
			continue
		}
		all = append(all, b.config(p)...)
	}
	if b.err != nil {
		return setting{}, b.err
	}
	if len(all) == 0 {
		return setting{}, refuse("no configuration of the repository holds a batch size")
	}
	return one(all, "the repository's configuration")
}

// one is the only setting of all, or the refusal that says that it is ambiguous.
func one(all []setting, where string) (setting, error) {
	if len(all) > 100 {
		return setting{}, refuse("%s holds more than 100 batch sizes", where)
	}
	var out []setting
	for _, s := range all {
		if !slices.ContainsFunc(out, func(o setting) bool { return o.path == s.path && o.Start == s.Start }) {
			out = append(out, s)
		}
	}
	// DeepSpeed's global train_batch_size follows from the micro batch.
	if micro := slices.DeleteFunc(slices.Clone(out), func(s setting) bool { return !strings.Contains(letters(s.Key()), "micro") }); len(micro) == 1 && len(out) > 1 {
		return micro[0], nil
	}
	if len(out) == 1 {
		return out[0], nil
	}
	var places []string
	for _, s := range out[:min(len(out), 4)] {
		places = append(places, fmt.Sprintf("%s in %s:%d", strings.Join(s.Path, "."), s.path, s.Line))
	}
	return setting{}, refuse("%s holds several batch sizes, and which one matters can't be told: %s", where, strings.Join(places, ", "))
}

type batchSearch struct {
	follower
	paths   map[string]bool
	looked  map[string]bool
	direct  []setting // in the step's own commands and variables
	configs []setting // in files that the step or its program names
	// scripts are the Python files that the step runs; named the configurations that
	// its commands name.
	scripts, named []string
	opaque         string
}

var option = regexp.MustCompile(`\A(?:--?|\+)?([A-Za-z][A-Za-z0-9_.-]*)(?:=(.*))?\z`)
var variable = regexp.MustCompile(`\A\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?\z|\A\$\{\{\s*env\.([A-Za-z_][A-Za-z0-9_]*)\s*\}\}\z`)

func (b *batchSearch) command(words []word, file string, raw []byte, dir string, _ []string) {
	var numbers []edit.Integer
	for i, w := range words {
		m := option.FindStringSubmatch(w.text)
		if m != nil {
			value, at := m[2], w
			attached := strings.Contains(w.text, "=")
			if !attached && strings.HasPrefix(w.text, "--") && i+1 < len(words) {
				value, at = words[i+1].text, words[i+1]
			}
			key := m[1][strings.LastIndexByte(m[1], '.')+1:]
			if (attached || strings.HasPrefix(w.text, "--")) && (isBatch(key) || isAccumulation(key)) && !otherPhase.MatchString(m[1]) {
				b.flagValue(raw, at, m[1], value, &numbers)
			}
			if key == "config-name" || key == "config_name" || key == "cn" {
				b.hydra(value, dir)
			}
		}
		text := w.text
		if _, value, ok := strings.Cut(text, "="); ok {
			text = value
		}
		values, _ := b.w.values(b.j, text)
		if len(values) != 1 {
			continue
		}
		p := join(dir, values[0])
		switch ext := strings.ToLower(path.Ext(p)); {
		case slices.Contains(configExtensions, ext) && b.paths[p]:
			b.named = append(b.named, p)
		case ext == ".py" && b.paths[p]:
			b.scripts = append(b.scripts, p)
		}
		if i > 0 && words[i-1].text == "-m" {
			b.module(w.text, dir)
		}
	}
	if len(words) > 1 && words[0].text == "dvc" && (words[1].text == "repro" || words[1].text == "exp") && b.paths[join(dir, "params.yaml")] {
		b.named = append(b.named, join(dir, "params.yaml"))
	}
	for _, n := range numbers {
		if isBatch(n.Key()) {
			b.direct = append(b.direct, setting{path: file, raw: raw, Integer: n, beside: numbers})
		}
	}
}

// flagValue adds a number of the command line, or notes the variable in its place.
func (b *batchSearch) flagValue(raw []byte, at word, name, value string, numbers *[]edit.Integer) {
	text := string(raw[at.start:at.end])
	k := strings.LastIndex(text, value)
	if v, err := strconv.ParseInt(value, 10, 64); err == nil && v > 0 && strconv.FormatInt(v, 10) == value && k >= 0 {
		start := at.start + k
		*numbers = append(*numbers, edit.Integer{Path: strings.Split(name, "."), Value: v, Line: 1 + strings.Count(string(raw[:start]), "\n"), Start: start, End: start + len(value)})
		return
	}
	if isBatch(name[strings.LastIndexByte(name, '.')+1:]) && value != "" {
		if m := variable.FindStringSubmatch(value); m == nil || !isBatch(m[1]+m[2]) {
			b.opaque = value
		}
	}
}

// hydra finds the configuration that Hydra reads by name.
func (b *batchSearch) hydra(name, dir string) {
	for _, folder := range []string{"conf", "config", "configs"} {
		for _, ext := range []string{".yaml", ".yml"} {
			if p := join(dir, path.Join(folder, strings.TrimSuffix(name, ext)+ext)); b.paths[p] {
				b.named = append(b.named, p)
				return
			}
		}
	}
}

// module finds the file of `python -m name`.
func (b *batchSearch) module(name, dir string) {
	base := strings.ReplaceAll(name, ".", "/")
	for _, root := range []string{"", "src"} {
		for _, p := range []string{base + ".py", base + "/__main__.py"} {
			if p = join(dir, path.Join(root, p)); b.paths[p] {
				b.scripts = append(b.scripts, p)
			}
		}
	}
}

// env adds batch sizes among the workflow's variables.
func (b *batchSearch) env(n *yaml.Node) {
	if n == nil || n.Kind != yaml.MappingNode {
		return
	}
	var numbers []edit.Integer
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, v := n.Content[i].Value, n.Content[i+1]
		if !isBatch(key) && !isAccumulation(key) {
			continue
		}
		value, err := strconv.ParseInt(v.Value, 10, 64)
		start, end, placeErr := b.w.y.Scalar(v)
		if err == nil && placeErr == nil && value > 0 {
			numbers = append(numbers, edit.Integer{Path: []string{"env", key}, Value: value, Line: v.Line, Start: start, End: end})
		}
	}
	for _, i := range numbers {
		if isBatch(i.Key()) && len(b.direct) == 0 {
			b.direct = append(b.direct, setting{path: b.w.path, raw: b.w.raw, Integer: i, beside: numbers})
		}
	}
}

// files reads the configurations that commands name, else those that the Python
// programs that they run name in a string.
func (b *batchSearch) files() {
	for _, p := range b.named {
		b.configs = append(b.configs, b.config(p)...)
	}
	if len(b.named) > 0 && len(b.configs) > 0 {
		return
	}
	scripts := slices.Compact(slices.Sorted(slices.Values(b.scripts)))
	for k := 0; k < len(scripts) && k < 40; k++ {
		content, ok := b.read(scripts[k])
		if !ok {
			continue
		}
		tokens, err := edit.Tokens(content)
		if err != nil {
			continue
		}
		for _, t := range tokens {
			if t.Kind != edit.String || len(t.Text) > 300 {
				continue
			}
			text := strings.Trim(t.Text, `rbRB"'`)
			if !slices.Contains(configExtensions, strings.ToLower(path.Ext(text))) {
				continue
			}
			for _, dir := range []string{"", path.Dir(scripts[k]), path.Dir(path.Dir(scripts[k]))} {
				if p := join(dir, text); b.paths[p] {
					b.configs = append(b.configs, b.config(p)...)
					break
				}
			}
		}
		// The program's own modules may read it.
		imports, err := edit.Imports(content)
		if err != nil {
			continue
		}
		for _, i := range imports {
			base := strings.ReplaceAll(i.Module, ".", "/")
			candidates := []string{base + ".py", base + "/__init__.py"}
			for _, n := range i.Names {
				candidates = append(candidates, path.Join(base, n[0])+".py")
			}
			for _, dir := range []string{"", "src", path.Dir(scripts[k])} {
				for _, c := range candidates {
					if p := join(dir, c); b.paths[p] && !slices.Contains(scripts, p) && len(scripts) < 40 {
						scripts = append(scripts, p)
					}
				}
			}
		}
	}
}

// config lists the batch sizes of a configuration file. A file that doesn't parse
// has none.
func (b *batchSearch) config(p string) []setting {
	if b.looked == nil {
		b.looked = map[string]bool{}
	}
	if b.looked[p] || b.err != nil {
		return nil
	}
	b.looked[p] = true
	raw, err := b.readFile(p)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, domain.ErrTooLarge) {
		return nil
	} else if err != nil {
		b.err = err
		return nil
	}
	numbers, err := edit.Integers(p, raw)
	if err != nil {
		return nil
	}
	var out []setting
	for _, n := range numbers {
		if isBatch(n.Key()) && n.Value > 0 && !otherPhase.MatchString(strings.Join(n.Path, ".")) {
			out = append(out, setting{path: p, raw: raw, Integer: n, beside: numbers})
		}
	}
	return out
}
