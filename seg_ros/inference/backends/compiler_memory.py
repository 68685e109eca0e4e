"""Tables in which compilers and exporters keep networks for the rest of the process, and their clearing.

torch.compile and torch.onnx.export are made for programs that use them once. Their tables hold each network
with its weights, although nothing runs it any more. A node that changes its model often would grow by
megabytes each time. The tables differ between versions of torch: one that a version lacks is passed over.
"""

import contextlib
import linecache
import sys
from collections.abc import Iterator
from types import CodeType
from typing import Any


@contextlib.contextmanager
def without_records() -> Iterator[None]:
    """Take what is compiled or exported in this context out of the tables, so that its user alone holds it.

    The tables serve debuggers and further compilations. Compiled networks run without them.
    """
    modules, sources, lines = _modules(), _sources(), _line_maps()
    known = {id(module) for module in modules}, set(sources), set(lines)
    try:
        yield
    finally:
        modules, sources, lines = _modules(), _sources(), _line_maps()
        _forget_modules([module for module in modules if id(module) not in known[0]])
        for name in sources.keys() - known[1]:
            sources.pop(name, None)
            linecache.cache.pop(name, None)
        for name in lines.keys() - known[2]:
            lines.pop(name, None)
        _clear_caches_of_shapes()
        _forget_matches()


def forget_compiled(code: CodeType) -> None:
    """Free what torch.compile keeps with a code object; it would be compiled anew.

    Garbage collection does not see through code objects, so they never free what refers to them in a circle.
    """
    forget = getattr(sys.modules.get('torch._dynamo.eval_frame'), 'remove_from_cache', None)
    if forget is not None:
        forget(code)


def _python_cache() -> Any:
    return getattr(sys.modules.get('torch._inductor.codecache'), 'PyCodeCache', None)


def _modules() -> list[Any]:
    """Generated modules; those of networks have the weights as attributes. Old versions have a dictionary."""
    cache = _python_cache()
    return [*getattr(cache, 'modules', ()), *getattr(cache, 'cache', {}).values()]


def _line_maps() -> dict[str, Any]:
    """Origins of generated lines, by the path of the module."""
    found: dict[str, Any] = getattr(_python_cache(), 'linemaps', {})
    return found


def _sources() -> dict[str, str]:
    """Sources of traced networks by file name."""
    loader = getattr(sys.modules.get('torch.fx.graph_module'), '_loader', None)
    found: dict[str, str] = getattr(loader, 'eval_cache', {})
    return found


def _forget_modules(modules: list[Any]) -> None:
    cache = _python_cache()
    shared = {id(module) for module in getattr(cache, 'modules_no_attr', {}).values()}
    gone = {id(module) for module in modules} - shared
    for module in modules:
        name = module.__name__
        if id(module) in gone and sys.modules.get(name) is module:
            del sys.modules[name]
    if hasattr(cache, 'modules'):
        cache.modules[:] = [module for module in cache.modules if id(module) not in gone]
    if hasattr(cache, 'cache'):
        for key in [key for key, module in cache.cache.items() if id(module) in gone]:
            del cache.cache[key]


def _clear_caches_of_shapes() -> None:
    """Forget results about shapes, whose keys hold everything that was known about a network."""
    environment = getattr(sys.modules.get('torch.fx.experimental.symbolic_shapes'), 'ShapeEnv', None)
    for method in vars(environment).values() if environment is not None else ():
        clear = getattr(method, 'cache_clear', None)
        if clear is not None:
            clear()
    fake = getattr(sys.modules.get('torch._subclasses.fake_tensor'), 'FakeTensorMode', None)
    clear = getattr(fake, 'cache_clear', None)
    if clear is not None:
        clear()


def _forget_matches() -> None:
    """Forget the nodes at which the rules of onnxscript looked last; each of them holds its whole graph."""
    rewriter = sys.modules.get('onnxscript.rewriter')
    for rule in getattr(rewriter, '_DEFAULT_REWRITE_RULES', ()):
        matcher = getattr(rule, '_matcher', None)
        for name in ('_current_node', '_match'):
            if hasattr(matcher, name):
                setattr(matcher, name, None)
