package strategies

import (
	"regexp"
	"strings"

	"github.com/mlops-bot/mlops-bot/functions/repair/edit"
)

// A wrong name would install a stranger's code, so that only two sources are
// trusted: this table, and what the repository already requires elsewhere. The
// index is never asked, and a name is never guessed from the import.

// renamed are imports whose distribution has another name, after the projects'
// own installation instructions. Dotted imports are parts of namespaces that many
// distributions share.
var renamed = map[string]string{
	"Bio": "biopython", "Crypto": "pycryptodome", "Cryptodome": "pycryptodomex", "IPython": "ipython", "Levenshtein": "Levenshtein",
	"MySQLdb": "mysqlclient", "OpenGL": "PyOpenGL", "OpenSSL": "pyOpenSSL", "PIL": "Pillow", "PyPDF2": "PyPDF2", "Xlib": "python-xlib",
	"airflow": "apache-airflow", "antlr4": "antlr4-python3-runtime", "apache_beam": "apache-beam", "asyncpg": "asyncpg", "attr": "attrs", "attrs": "attrs",
	"azure.identity": "azure-identity", "azure.storage.blob": "azure-storage-blob", "azure.keyvault.secrets": "azure-keyvault-secrets", "azure.ai.ml": "azure-ai-ml",
	"bs4": "beautifulsoup4", "cairosvg": "CairoSVG", "clip": "", "community": "python-louvain", "confluent_kafka": "confluent-kafka", "cpuinfo": "py-cpuinfo",
	"cv2": "opencv-python", "databricks.sdk": "databricks-sdk", "dateutil": "python-dateutil", "dns": "dnspython", "docx": "python-docx", "dotenv": "python-dotenv",
	"efficientnet_pytorch": "efficientnet-pytorch", "email_validator": "email-validator", "faiss": "faiss-cpu", "fitz": "PyMuPDF", "flask_cors": "Flask-Cors", "flask_login": "Flask-Login",
	"flask_migrate": "Flask-Migrate", "flask_restful": "Flask-RESTful", "flask_sqlalchemy": "Flask-SQLAlchemy", "flask_wtf": "Flask-WTF", "flwr": "flwr",
	"git": "GitPython", "github": "PyGithub", "gitlab": "python-gitlab",
	"google.auth": "google-auth", "google.cloud.aiplatform": "google-cloud-aiplatform", "google.cloud.bigquery": "google-cloud-bigquery", "google.cloud.logging": "google-cloud-logging",
	"google.cloud.pubsub": "google-cloud-pubsub", "google.cloud.pubsub_v1": "google-cloud-pubsub", "google.cloud.secretmanager": "google-cloud-secret-manager", "google.cloud.storage": "google-cloud-storage",
	"google.genai": "google-genai", "google.generativeai": "google-generativeai", "google.protobuf": "protobuf", "google_auth_oauthlib": "google-auth-oauthlib", "googleapiclient": "google-api-python-client",
	"grpc": "grpcio", "grpc_health": "grpcio-health-checking", "grpc_reflection": "grpcio-reflection", "grpc_tools": "grpcio-tools", "gym": "gym",
	"huggingface_hub": "huggingface_hub", "hydra": "hydra-core", "igraph": "igraph", "imblearn": "imbalanced-learn", "jose": "python-jose", "jwt": "PyJWT",
	"kafka": "kafka-python", "kubernetes": "kubernetes", "ldap3": "ldap3", "lightning": "lightning", "lightning_fabric": "lightning-fabric", "llama_cpp": "llama-cpp-python",
	"lz4": "lz4", "magic": "python-magic", "markdown": "Markdown", "mpl_toolkits": "matplotlib", "multipart": "python-multipart", "mysql.connector": "mysql-connector-python",
	"nacl": "PyNaCl", "newspaper": "newspaper3k", "odf": "odfpy", "onnxruntime": "onnxruntime", "open_clip": "open_clip_torch",
	"opentelemetry.api": "opentelemetry-api", "opentelemetry.sdk": "opentelemetry-sdk", "osgeo": "GDAL", "paho": "paho-mqtt", "pika": "pika", "pkg_resources": "",
	"pl_bolts": "lightning-bolts", "prometheus_client": "prometheus-client", "prompt_toolkit": "prompt-toolkit", "psycopg2": "psycopg2-binary", "pwd": "", "pydantic_settings": "pydantic-settings",
	"pyannote.audio": "pyannote.audio", "pymysql": "PyMySQL", "pynvml": "nvidia-ml-py", "pytest_asyncio": "pytest-asyncio", "pytest_cov": "pytest-cov", "pytest_mock": "pytest-mock", "pytest_benchmark": "pytest-benchmark",
	"pytest_lazyfixture": "pytest-lazy-fixture", "pytest_httpx": "pytest-httpx", "pytest_xdist": "pytest-xdist", "xdist": "pytest-xdist", "pythonjsonlogger": "python-json-logger",
	"pytorch_lightning": "pytorch-lightning", "pytorch_metric_learning": "pytorch-metric-learning", "pytorch_tabnet": "pytorch-tabnet", "pytorch_transformers": "pytorch-transformers", "pywt": "PyWavelets", "rest_framework": "djangorestframework", "rapidfuzz": "rapidfuzz",
	"requests_mock": "requests-mock", "requests_oauthlib": "requests-oauthlib", "requests_toolbelt": "requests-toolbelt", "rouge_score": "rouge-score", "ruamel": "ruamel.yaml", "ruamel.yaml": "ruamel.yaml",
	"segmentation_models_pytorch": "segmentation-models-pytorch", "sentence_transformers": "sentence-transformers", "sentry_sdk": "sentry-sdk", "serial": "pyserial", "skimage": "scikit-image", "sklearn": "scikit-learn",
	"skopt": "scikit-optimize", "sksurv": "scikit-survival", "slack_sdk": "slack_sdk", "slugify": "python-slugify", "snowflake.connector": "snowflake-connector-python", "socks": "PySocks", "sounddevice": "sounddevice",
	"spacy_transformers": "spacy-transformers", "sqlalchemy_utils": "SQLAlchemy-Utils", "stable_baselines3": "stable-baselines3", "tables": "tables", "telegram": "python-telegram-bot", "tensorboardX": "tensorboardX",
	"tensorflow_datasets": "tensorflow-datasets", "tensorflow_hub": "tensorflow-hub", "tensorflow_probability": "tensorflow-probability", "tensorflow_text": "tensorflow-text", "text_unidecode": "text-unidecode", "tf_keras": "tf-keras",
	"tlz": "toolz", "torch_geometric": "torch-geometric", "umap": "umap-learn", "unidecode": "Unidecode", "usb": "pyusb", "websocket": "websocket-client", "whisper": "openai-whisper",
	"win32api": "pywin32", "win32com": "pywin32", "wx": "wxPython", "xlrd": "xlrd", "yaml": "PyYAML", "zmq": "pyzmq", "zstandard": "zstandard", "charset_normalizer": "charset-normalizer",
	"jinja2": "Jinja2", "werkzeug": "Werkzeug", "flask": "Flask", "django": "Django", "sqlalchemy": "SQLAlchemy", "scrapy": "Scrapy", "pygments": "Pygments", "cython": "Cython", "Cython": "Cython",
	"markupsafe": "MarkupSafe", "pyspark": "pyspark", "delta": "delta-spark", "great_expectations": "great-expectations", "graphviz": "graphviz", "pydot": "pydot", "memory_profiler": "memory-profiler", "line_profiler": "line-profiler",
	"more_itertools": "more-itertools", "typing_extensions": "typing_extensions", "importlib_metadata": "importlib-metadata", "importlib_resources": "importlib-resources", "ml_collections": "ml_collections", "optax": "optax", "sentencepiece": "sentencepiece",
	"pydub": "pydub", "deap": "deap", "dask_ml": "dask-ml", "category_encoders": "category-encoders", "mlxtend": "mlxtend", "yellowbrick": "yellowbrick", "feature_engine": "feature-engine", "fuzzywuzzy": "fuzzywuzzy", "jsonpickle": "jsonpickle",
	"shapely": "shapely", "fiona": "fiona", "rasterio": "rasterio", "geopandas": "geopandas", "pyproj": "pyproj", "folium": "folium", "streamlit": "streamlit", "dash_bootstrap_components": "dash-bootstrap-components",
	"langchain_community": "langchain-community", "langchain_core": "langchain-core", "langchain_openai": "langchain-openai", "langchain_text_splitters": "langchain-text-splitters", "llama_index": "llama-index", "qdrant_client": "qdrant-client", "pymilvus": "pymilvus",
}

// same are imports whose distribution has the same name: well-known projects that
// were looked up one by one.
const same = `
absl accelerate adversarial aiofiles aiohttp alembic altair anthropic anyio apscheduler arch arrow arviz asgiref asteval astropy
audioread autogluon bcrypt bentoml bitsandbytes black bleach blinker bokeh boto3 botocore bottle bottleneck braceexpand cachetools captum catboost
causalml celery certifi cffi chainer chardet cherrypy chromadb clearml click cloudpickle cmaes codecarbon cohere colorama coloredlogs colorlog comet_ml
contourpy coremltools coverage croniter cryptography cupy cvxpy cycler cytoolz dash dask dataclasses_json datasets datashader deepdiff
deepspeed deprecated diffusers dill distributed docker docopt docutils doit duckdb dvc dvclive einops elasticsearch ecos environs evaluate evidently
factory_boy faker falcon fastai fastapi fastavro fasteners fastparquet fasttext feast ffmpeg filelock fire flair flake8 flaml flatbuffers flax fonttools freezegun fsspec
ftfy funcy fvcore gensim gevent gitdb glom gluonts gpytorch gradio greenlet gunicorn gymnasium h5py h11 h2 haystack holoviews httpcore httptools httpx hpbandster
humanize hvplot hyperopt hypothesis idna ijson imageio imagehash imgaug imutils inflect inflection iniconfig invoke isort itsdangerous jax jaxlib
jieba jmespath joblib jsonlines jsonschema jupyter jupytext kaggle keras kornia kedro langchain langdetect langgraph langsmith lark lda librosa lightfm lightgbm lime
litellm llvmlite locust loguru lxml mako marshmallow matplotlib mccabe metaflow mistune mlflow mmcv mmengine mock modin monai moto mpmath msgpack multidict
mypy natsort neptune nbconvert nbformat networkx nevergrad nibabel nltk nose notebook numba numexpr numpy numpydoc numpyro nvtx oauthlib onnx onnxmltools openai
openpyxl opencensus optuna orjson osqp packaging pandas pandera papermill paramiko pathos patsy peewee peft pendulum pexpect pip pint pinecone plotly plotnine pluggy
pmdarima polars portalocker pooch praw prefect prettytable prophet protobuf psutil psycopg ptyprocess pulp pyarrow pyathena pybind11 pycocotools pydantic pydicom pydotplus pygame pylint
pymc pymongo pynndescent pyod pyodbc pyparsing pyperclip pypdf pyro pysal pystan pytesseract pytest pytz pyvista pyximport questionary ray redis regex reportlab
requests responses respx rich rq ruff s3fs gcsfs sacrebleu sacred safetensors sagemaker scikitplot scipy scs seaborn selenium semver seqeval setfit shap shellingham simplejson simpy six skl2onnx skorch
skops smart_open snowballstemmer sniffio soundfile spacy sphinx sqlglot sqlmodel sqlparse starlette statsmodels statsforecast stevedore stripe structlog sympy tabulate tblib tenacity
tensorboard tensorflow tensorrt termcolor testcontainers textblob tiktoken timm tokenizers toml tomli tomlkit toolz torch torchaudio torchmetrics torchtext torchvision tornado tox tqdm
transformers trafilatura traitlets treelib triton trl trino tsfresh twine typer tzdata tzlocal ujson uncertainties unstructured urllib3 uvicorn uvloop validators vaex virtualenv
wandb watchdog watchfiles wcwidth weasyprint webdataset websockets wheel wikipedia wordcloud wrapt wtforms xarray xformers xgboost xlsxwriter xmltodict xxhash yarl yfinance zarr zict zipp zstd
`

// sameExceptions within same have another distribution's name or must not be
// added by name alone.
var sameExceptions = map[string]string{
	"absl": "absl-py", "pyro": "pyro-ppl", "ffmpeg": "ffmpeg-python", "haystack": "", "adversarial": "", "scikitplot": "scikit-plot", "xlsxwriter": "XlsxWriter",
	"comet_ml": "comet-ml", "factory_boy": "", "jupyter": "", "pyximport": "Cython", "dataclasses_json": "dataclasses-json", "smart_open": "smart-open", "imagehash": "ImageHash",
	"fonttools": "", "hpbandster": "hpbandster", "protobuf": "", "pysal": "pysal", "wtforms": "WTForms", "cherrypy": "CherryPy", "deprecated": "Deprecated", "sphinx": "Sphinx", "ray": "ray",
	"pip": "", "cupy": "", "pinecone": "pinecone", "nose": "", "notebook": "notebook", "fasttext": "fasttext", "pyathena": "PyAthena", "bottle": "bottle", "bottleneck": "Bottleneck", "wikipedia": "wikipedia",
	"mako": "Mako", "faker": "Faker", "apscheduler": "APScheduler", "tensorrt": "",
}

// distributions maps imports to distributions: both tables in one.
var distributions = func() map[string]string {
	out := map[string]string{}
	for name := range strings.FieldsSeq(same) {
		out[name] = name
	}
	for name, dist := range sameExceptions {
		out[name] = dist
	}
	for name, dist := range renamed {
		out[name] = dist
	}
	return out
}()

// distribution finds the distribution that brings a module. ok is false where
// that is not certain.
func distribution(module string) (name string, ok bool) {
	for part := module; part != ""; {
		if dist, known := distributions[part]; known {
			// "sklearn.foo" is missing in an installed scikit-learn; only namespace
			// packages are missing in part.
			return dist, dist != "" && (part == module || strings.Contains(part, "."))
		}
		at := strings.LastIndexByte(part, '.')
		if at < 0 {
			break
		}
		part = part[:at]
	}
	return "", false
}

var moduleName = regexp.MustCompile(`\A[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*){0,8}\z`)

// sameName reports whether a distribution has the module's own name.
func sameName(dist, module string) bool {
	return edit.Normalize(dist) == edit.Normalize(module)
}

// standard are the top-level modules of Python 3's standard library, those that
// versions up to 3.14 removed too.
var standard = func() map[string]bool {
	out := map[string]bool{}
	for name := range strings.FieldsSeq(`
abc aifc annotationlib antigravity argparse array ast asynchat asyncio asyncore atexit audioop base64 bdb binascii binhex bisect builtins bz2 cProfile calendar cgi cgitb chunk
cmath cmd code codecs codeop collections colorsys compileall compression concurrent configparser contextlib contextvars copy copyreg crypt csv ctypes curses dataclasses datetime dbm
decimal difflib dis distutils doctest email encodings ensurepip enum errno faulthandler fcntl filecmp fileinput fnmatch formatter fractions ftplib functools gc genericpath getopt getpass
gettext glob graphlib grp gzip hashlib heapq hmac html http idlelib imaplib imghdr imp importlib inspect io ipaddress itertools json keyword lib2to3 linecache locale logging
lzma mailbox mailcap marshal math mimetypes mmap modulefinder msilib msvcrt multiprocessing netrc nis nntplib nt ntpath nturl2path numbers opcode operator optparse os ossaudiodev
parser pathlib pdb pickle pickletools pipes pkgutil platform plistlib poplib posix posixpath pprint profile pstats pty pwd py_compile pyclbr pydoc pydoc_data pyexpat queue quopri
random re readline reprlib resource rlcompleter runpy sched secrets select selectors shelve shlex shutil signal site smtpd smtplib sndhdr socket socketserver spwd sqlite3
sre_compile sre_constants sre_parse ssl stat statistics string stringprep struct subprocess sunau symbol symtable sys sysconfig syslog tabnanny tarfile telnetlib tempfile termios test
textwrap this threading time timeit tkinter token tokenize tomllib trace traceback tracemalloc tty turtle turtledemo types typing unicodedata unittest urllib uu uuid venv warnings
wave weakref webbrowser winreg winsound wsgiref xdrlib xml xmlrpc zipapp zipfile zipimport zlib zoneinfo _ctypes _sqlite3 _lzma _bz2 _tkinter`) {
		out[name] = true
	}
	return out
}()
