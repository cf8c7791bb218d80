from .api import count as count
from .api import evaluate as evaluate
from .api import load as load
from .api import segment as segment
from .api import train as train

__version__: str
