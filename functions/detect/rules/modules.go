package rules

import (
	"slices"
	"strings"
)

// removedModules are modules of the standard library that newer versions of
// Python no longer have, with the first version without them.
var removedModules = map[string]string{
	"imp": "3.12", "asyncore": "3.12", "asynchat": "3.12", "smtpd": "3.12",
	"aifc": "3.13", "audioop": "3.13", "cgi": "3.13", "cgitb": "3.13", "chunk": "3.13", "crypt": "3.13",
	"imghdr": "3.13", "mailcap": "3.13", "msilib": "3.13", "nis": "3.13", "nntplib": "3.13", "ossaudiodev": "3.13",
	"pipes": "3.13", "sndhdr": "3.13", "spwd": "3.13", "sunau": "3.13", "telnetlib": "3.13", "uu": "3.13",
	"xdrlib": "3.13", "lib2to3": "3.13", "symbol": "3.10", "parser": "3.10", "formatter": "3.10", "macpath": "3.8",
	"dummy_threading": "3.9", "binhex": "3.11",
}

// addedModules are modules of the standard library that older versions lack.
var addedModules = map[string]string{
	"tomllib": "3.11", "zoneinfo": "3.9", "graphlib": "3.9", "dataclasses": "3.7", "contextvars": "3.7",
	"importlib.metadata": "3.8", "importlib.resources": "3.7", "annotationlib": "3.14", "compression": "3.14",
	"asyncio.taskgroups": "3.11", "wsgiref.types": "3.11", "collections.abc": "3.3",
}

// standard are modules of Python that code and dependencies disagree about.
var standard = words(`abc argparse ast asyncio base64 collections concurrent configparser contextlib copy csv ctypes
	datetime distutils email enum fractions functools gc gettext hashlib html http importlib inspect io itertools json
	locale logging math multiprocessing numbers os pathlib pickle pkgutil platform plistlib queue random re secrets shlex
	shutil signal socket sqlite3 ssl statistics string struct subprocess sys tarfile tempfile threading time tokenize
	traceback types typing unittest urllib uuid warnings weakref xml zipfile`)

// thirdParty are import names of packages that ML repositories depend on and
// rarely bear themselves.
var thirdParty = words(`absl accelerate aiohttp albumentations allennlp altair anthropic anyio apex arviz astropy attr
	azure babel bentoml bitsandbytes bokeh boto3 botocore bs4 catboost category_encoders cattrs celery chex click
	cloudpickle cupy cv2 dask datasets deepspeed diffusers distributed django docker dotenv duckdb einops evaluate faiss
	fairscale fastai fastapi feast flask flax freezegun fsspec gensim geopandas google gradio great_expectations greenlet
	grpc gym gymnasium h5py haiku httpx huggingface_hub hydra hypothesis imageio imblearn importlib_metadata ipykernel
	IPython jax jaxlib jinja2 joblib jsonschema jwt keras kfp kornia kubernetes langchain langchain_community
	langchain_core librosa lightgbm lightning lightning_fabric lightning_utilities llama_index loguru lxml markdown
	markupsafe marshmallow matplotlib mlflow mmcv mock msgpack nbformat networkx nltk numba numpy omegaconf onnx
	onnxruntime openai opentelemetry optax optuna orjson packaging pandas pandera papermill patsy peft PIL plotly polars
	pooch prefect prometheus_client psutil psycopg psycopg2 pyarrow pycocotools pydantic pydantic_settings pygments
	pymongo pynvml pyspark pytest pytorch_lightning pytz qdrant_client rasterio ray redis regex requests responses rich
	safetensors scikit_learn scipy seaborn sentence_transformers sentencepiece sentry_sdk shap shapely skimage sklearn
	skopt sktime soundfile spacy sqlalchemy starlette statsmodels streamlit sympy tensorboard tensorboardX tensorflow
	tensorflow_addons tensorflow_datasets tensorflow_hub tensorflow_probability thinc tiktoken timm tokenizers tomli toml
	torch torchaudio torchdata torchmetrics torchtext torchvision tornado tqdm transformers trl triton typer ultralytics
	umap urllib3 uvicorn wandb werkzeug xarray xformers xgboost yaml zarr`)

// aliases are the names under which code commonly imports packages.
var aliases = map[string]string{
	"np": "numpy", "pd": "pandas", "tf": "tensorflow", "pl": "pytorch_lightning", "nn": "torch", "F": "torch",
	"plt": "matplotlib", "sns": "seaborn", "sm": "statsmodels", "xgb": "xgboost", "lgb": "lightgbm", "jnp": "jax",
	"sp": "scipy", "nx": "networkx", "st": "streamlit", "gr": "gradio", "px": "plotly", "go": "plotly", "dd": "dask",
	"pa": "pyarrow", "sk": "sklearn", "hf": "transformers", "cv": "cv2", "Image": "PIL", "ImageFont": "PIL",
	"Trainer": "transformers", "TrainingArguments": "transformers", "OpenAI": "openai",
	"OneHotEncoder": "sklearn", "KMeans": "sklearn", "LogisticRegression": "sklearn", "train_test_split": "sklearn",
	"DataFrame": "pandas", "Series": "pandas",
}

// classes belong to packages, by the name that exceptions show.
var classes = map[string]string{
	"DataFrame": "pandas", "Series": "pandas", "DatetimeIndex": "pandas", "DataFrameGroupBy": "pandas",
	"numpy.ndarray": "numpy", "ndarray": "numpy", "Tensor": "torch", "EagerTensor": "tensorflow",
	"FreeTypeFont": "PIL", "ImageDraw": "PIL", "XGBClassifier": "xgboost", "XGBRegressor": "xgboost", "Booster": "xgboost",
	"CountVectorizer": "sklearn", "TfidfVectorizer": "sklearn", "OneHotEncoder": "sklearn", "ColumnTransformer": "sklearn",
	"FigureCanvasBase": "matplotlib", "Axes3DSubplot": "matplotlib", "AxesSubplot": "matplotlib",
}

// localNames are top-level names that repositories give to their own code.
var localNames = words(`api app apps backend bot cli client common conf config configs conftest constants core data
	dataset dataloader db engine eval evaluation examples helper helpers infer inference layers lib loss losses main
	metrics model models modules network networks pipeline pipelines preprocess preprocessing project schemas scripts
	server service services settings setup src test tests tools train trainer training types util utils utilities`)

func words(list string) []string {
	w := strings.Fields(list)
	slices.Sort(w)
	return w
}

func in(list []string, name string) bool {
	_, ok := slices.BinarySearch(list, name)
	return ok
}

func topLevel(module string) string {
	top, _, _ := strings.Cut(module, ".")
	return top
}

// ownModule tells whether a module's top level looks like the repository's own:
// a frame of the repository's code lies in a directory or file of that name, or
// the checkout is named so.
func ownModule(module string, frames []frame) bool {
	top := topLevel(module)
	for _, f := range frames {
		file := strings.ReplaceAll(f.File, `\`, "/")
		if o, _ := whose(file); o != own {
			continue
		}
		parts := strings.Split(strings.TrimSuffix(strings.TrimSuffix(file, ".py"), "/__init__"), "/")
		for i, p := range parts {
			if p == top {
				return true
			}
			// /home/runner/work/<repository>/<repository>/…
			if i > 0 && p == parts[i-1] && fold(p) == fold(top) {
				return true
			}
		}
	}
	return false
}

func fold(name string) string {
	return strings.ToLower(strings.NewReplacer("-", "_", ".", "_").Replace(name))
}

// thirdPartyModule tells whether a top-level module belongs to a package that
// is installed rather than to the repository.
func thirdPartyModule(module string, frames []frame) bool {
	top := topLevel(module)
	switch {
	case strings.HasPrefix(module, "."), top == "", top == "__main__":
		return false
	case in(thirdParty, top):
		return !ownModule(module, frames) || len(frames) == 0
	case in(localNames, top), in(standard, top):
		return false
	}
	return !ownModule(module, frames)
}

// packageOf finds the package that a failing call belongs to: the dependency in
// which it was raised, else the one that the statement names.
func packageOf(frames []frame) (string, bool) {
	f, ok := innermost(frames)
	if !ok {
		return "", false
	}
	if o, pkg := whose(f.File); o == dependency {
		return pkg, pkg != "" && pkg != "pytest" && pkg != "_pytest" && pkg != "pluggy"
	} else if o != own {
		return "", false
	}
	return calledPackage(f.Source)
}

var calledName = re(`\b([A-Za-z_]\w*)(?:\.\w+)*\(`)

// calledPackage names the package whose function a statement calls, judging by
// the customary names.
func calledPackage(source string) (string, bool) {
	for _, m := range calledName.FindAllStringSubmatch(source, 4) {
		if pkg, ok := aliases[m[1]]; ok {
			return pkg, true
		}
		if in(thirdParty, m[1]) {
			return m[1], true
		}
	}
	return "", false
}
