from dataclasses import dataclass
from benchmarks.load.figures import Spot
@dataclass(frozen=True)
class Check:
    server: str
    clients: int
    tokens_per_second: float
    first_token: Spot
    token: Spot
    generator_cpu: float
def check(*a): return []
