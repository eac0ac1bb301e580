package detect

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mlops-bot/mlops-bot/functions/detect/rules"
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// greenLog writes a log of a job that succeeded, of at least size bytes: set-up,
// installation, training, a long verbose test run, and what the runner prints
// between them. It holds words that failures use, where nothing failed.
func greenLog(size int) []byte {
	var b bytes.Buffer
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	line := func(format string, args ...any) {
		at = at.Add(1234567 * time.Nanosecond)
		b.WriteString(at.Format("2006-01-02T15:04:05.0000000Z "))
		fmt.Fprintf(&b, format, args...)
		b.WriteByte('\n')
	}
	line("Current runner version: '2.330.0'")
	line("##[group]Runner Image")
	line("Image: ubuntu-24.04")
	line("##[endgroup]")
	for round := 0; b.Len() < size; round++ {
		line("##[group]Run pip install -r requirements.txt")
		line("\x1b[36;1mpip install -r requirements.txt || echo 'ERROR: No matching distribution found for torch==9'\x1b[0m")
		line("shell: /usr/bin/bash -e {0}")
		line("  pythonLocation: /opt/hostedtoolcache/Python/3.11.9/x64")
		line("##[endgroup]")
		for i := range 200 {
			line("Collecting package-%d>=1.%d (from -r requirements.txt (line %d))", i, i, i+1)
			line("  Downloading package_%d-1.%d.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl.metadata (%d.1 kB)", i, i, i%60)
			if i%50 == 0 {
				line("  WARNING: Retrying (Retry(total=4, connect=None, read=None, redirect=None, status=None)) after connection broken by 'ReadTimeoutError(\"HTTPSConnectionPool(host='files.pythonhosted.org', port=443): Read timed out. (read timeout=15)\")': /packages/x.whl")
				line("  Downloading package_%d-1.%d.1-py3-none-any.whl (12.3 MB)", i, i)
			}
		}
		line("Successfully installed package-0-1.0.0 package-1-1.1.0")
		line("##[group]Run python train.py --epochs 3")
		line("\x1b[36;1mpython train.py --epochs 3\x1b[0m")
		line("##[endgroup]")
		line("2026-03-04 05:06:08.123456: W tensorflow/stream_executor/platform/default/dso_loader.cc:64] Could not load dynamic library 'libcudart.so.11.0'; dlerror: libcudart.so.11.0: cannot open shared object file: No such file or directory")
		line("2026-03-04 05:06:08.123456: E tensorflow/stream_executor/cuda/cuda_driver.cc:265] failed call to cuInit: CUDA_ERROR_NO_DEVICE: no CUDA-capable device is detected")
		line("UserWarning: CUDA initialization: Found no NVIDIA driver on your system. Falling back to the CPU.")
		for i := range 100 {
			line("epoch %d/3 step %d/100 loss=%.4f val_loss=%.4f acc=0.9%d nan_ratio=0.0 throughput=%d img/s", i%3, i, 0.9/float64(i+1), 1.1/float64(i+1), i%10, 800+i)
		}
		line("optuna: Trial 7 pruned, no memory errors; error rate 0.031")
		line("##[group]Run pytest -v")
		line("\x1b[36;1mpytest -v\x1b[0m")
		line("##[endgroup]")
		line("============================= test session starts ==============================")
		line("platform linux -- Python 3.11.9, pytest-8.2.0, pluggy-1.5.0")
		for i := range 400 {
			line("tests/test_pipeline_%d.py::TestLoader::test_raises_ModuleNotFoundError_when_missing[case-%d] \x1b[32mPASSED\x1b[0m [ %2d%%]", i%40, i, i/4)
		}
		line("tests/test_retry.py::test_client Error: Network Error, retrying as expected PASSED [ 99%%]")
		line("=============================== warnings summary ===============================")
		line("tests/test_numpy.py::test_alias")
		line("  DeprecationWarning: `np.bool8` is a deprecated alias for `np.bool_`.  (Deprecated NumPy 1.24)")
		line("-- Docs: https://docs.pytest.org/en/stable/how-to/capture-warnings.html")
		line("======================= 401 passed, 1 warning in 12.34s ========================")
	}
	line("Post job cleanup.")
	line("[command]/usr/bin/git version")
	line("Cleaning up orphan processes")
	return b.Bytes()
}

func BenchmarkDiagnose(b *testing.B) {
	log := greenLog(8 << 20)
	b.SetBytes(int64(len(log)))
	b.ReportAllocs()
	for b.Loop() {
		d, _, err := Diagnose(context.Background(), Input{Log: bytes.NewReader(log)})
		if err != nil || d.Primary.Category != domain.Unknown {
			b.Fatalf("diagnosed %q, %v", d.Primary.Category, err)
		}
	}
}

func BenchmarkDiagnoseSmall(b *testing.B) {
	log := strings.Replace(string(greenLog(100<<10)), "Post job cleanup.", "ModuleNotFoundError: No module named 'numpy'", 1)
	b.SetBytes(int64(len(log)))
	for b.Loop() {
		if _, _, err := Diagnose(context.Background(), Input{Log: strings.NewReader(log)}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLines is a baseline: it only cuts the same bytes into lines.
func BenchmarkLines(b *testing.B) {
	log := greenLog(8 << 20)
	want := bytes.Count(log, []byte("\n"))
	b.SetBytes(int64(len(log)))
	for b.Loop() {
		n := 0
		for s := bufio.NewScanner(bytes.NewReader(log)); s.Scan(); n++ {
		}
		if n != want {
			b.Fatalf("%d lines of %d", n, want)
		}
	}
}

// BenchmarkAlternation is a baseline: the catalogue's patterns as one regular
// expression, over the lines of a smaller log.
func BenchmarkAlternation(b *testing.B) {
	var patterns []string
	for _, r := range rules.All() {
		for _, p := range r.Patterns {
			patterns = append(patterns, "(?:"+p.String()+")")
		}
	}
	all := regexp.MustCompile(strings.Join(patterns, "|"))
	log := greenLog(32 << 10)
	b.SetBytes(int64(len(log)))
	for b.Loop() {
		for s := bufio.NewScanner(bytes.NewReader(log)); s.Scan(); {
			all.Match(s.Bytes())
		}
	}
}

// BenchmarkCatalogue is what the first diagnosis of a process costs besides.
func BenchmarkCatalogue(b *testing.B) {
	for b.Loop() {
		if _, err := rules.NewCatalogue(rules.All()); err != nil {
			b.Fatal(err)
		}
	}
}
