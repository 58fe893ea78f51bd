"""ML Metadata: artifacts, executions and contexts of a store, and the links between them.

The store named `default` of a location comes into being when somebody makes it, or with the first pipeline. Left out:
checks of metadata against its schema, etags that are stale. Source:
google/cloud/aiplatform/v1/metadata_service.proto, lineage_subgraph.proto.
"""

from collections.abc import Iterable

from grpc import StatusCode

from remit.lab.api_table import Proto, table
from remit.lab.errors import CloudError
from remit.lab.vertex.fields import sibling
from remit.lab.vertex.metadata_filter import Node, parse
from remit.lab.vertex.operations import Operations
from remit.lab.vertex.resources import Resources, Scope, canonical, flat, new_id, page, stamp

_INPUT, _OUTPUT = 1, 2  # Event.Type
_STORE = 6  # parts of `projects/P/locations/L/metadataStores/S`
_HOPS = 100  # QueryArtifactLineageSubgraph, `max_hops`: at most


class MetadataStores:
    """All stores, and who is linked to whom."""

    def __init__(self, resources: Resources, operations: Operations) -> None:
        self._resources = resources
        self._operations = operations
        self._members: dict[str, set[str]] = {}  # context → the artifacts and executions in it
        self._events: list[Proto] = []

    def create(self, scope: Scope) -> Proto:
        """`CreateArtifact`, `CreateExecution`, `CreateContext` and `CreateMetadataSchema`."""
        thing = self._resources.create(scope)
        _tag(thing)
        return thing

    def update(self, scope: Scope) -> Proto:
        """`UpdateArtifact` and its like: with `allow_missing` they create."""
        request = scope.request
        new = getattr(request, scope.binding.body)
        if request.allow_missing and self._resources.find(new.name) is None:
            thing = type(new)()
            thing.CopyFrom(new)
            stamp(thing, "create_time", "update_time")
            self._resources.get(new.name.rpartition("/")[0].rpartition("/")[0], "MetadataStore")
            self._resources.put(canonical(new.name), thing)
        else:
            thing = self._resources.update(scope)
        _tag(thing)
        return thing

    def search(self, scope: Scope) -> Proto:
        """`ListArtifacts` and its like."""
        self._resources.get(scope.name, "MetadataStore")
        answer = scope.answer()
        field = next(each for each in answer.DESCRIPTOR.fields if each.is_repeated)
        test = parse(scope.request.filter)
        found = [each for each in self._resources.of(field.message_type.name, scope.name) if test(self._node(each))]
        return page(scope.request, answer, found)

    def delete(self, scope: Scope) -> Proto:
        """`DeleteArtifact` and its like, links and all."""
        self._forget(self._resources.get(scope.name).name)
        result = table().message(scope.call.method.result)()
        return self._operations.done(scope.name.rpartition("/metadataStores/")[0], scope.call.method, result)

    # Links

    def add_children(self, scope: Scope) -> Proto:
        """`AddContextChildren`."""
        context = self._resources.get(scope.name, "Context")
        children = self._near(scope, scope.request.child_contexts, "Context")
        for child in children:
            if child.name == context.name or context.name in self._descendants(child.name):
                text = f"Context {child.name} cannot be a child of its own descendant {context.name}."
                raise CloudError(StatusCode.INVALID_ARGUMENT, text)
            if context.name not in child.parent_contexts:
                child.parent_contexts.append(context.name)
        return scope.answer()

    def remove_children(self, scope: Scope) -> Proto:
        """`RemoveContextChildren`."""
        context = self._resources.get(scope.name, "Context")
        for child in self._near(scope, scope.request.child_contexts, "Context"):
            kept = [parent for parent in child.parent_contexts if parent != context.name]
            del child.parent_contexts[:]
            child.parent_contexts.extend(kept)
        return scope.answer()

    def add_members(self, scope: Scope) -> Proto:
        """`AddContextArtifactsAndExecutions`."""
        context = self._resources.get(scope.name, "Context")
        self.put_in(context, self._near(scope, scope.request.artifacts, "Artifact"))
        self.put_in(context, self._near(scope, scope.request.executions, "Execution"))
        return scope.answer()

    def put_in(self, context: Proto, things: Iterable[Proto]) -> None:
        """Links artifacts or executions to a context."""
        self._members.setdefault(context.name, set()).update(thing.name for thing in things)

    def add_events(self, scope: Scope) -> Proto:
        """`AddExecutionEvents`."""
        execution = self._resources.get(scope.name, "Execution")
        artifacts = self._near(scope, [event.artifact for event in scope.request.events], "Artifact")
        for event, artifact in zip(scope.request.events, artifacts, strict=True):
            self.link(execution, artifact, event)
        return scope.answer()

    def link(self, execution: Proto, artifact: Proto, given: Proto | None = None, *, output: bool = False) -> None:
        """An event between an execution and an artifact: `given`, or a new one of its input or output."""
        event = sibling(execution, "Event")
        if given is None:
            event.type_ = _OUTPUT if output else _INPUT
        else:
            event.CopyFrom(given)
        event.execution, event.artifact = execution.name, artifact.name
        if not event.HasField("event_time"):
            stamp(event, "event_time")
        self._events.append(event)

    # Lineage

    def of_context(self, scope: Scope) -> Proto:
        """`QueryContextLineageSubgraph`: what is in a context, with the events between."""
        context = self._resources.get(scope.name, "Context")
        return self._graph(scope, self._members.get(context.name, set()))

    def of_execution(self, scope: Scope) -> Proto:
        """`QueryExecutionInputsAndOutputs`."""
        execution = self._resources.get(scope.name, "Execution")
        near = {event.artifact for event in self._events if event.execution == execution.name}
        return self._graph(scope, near | {execution.name})

    def of_artifact(self, scope: Scope) -> Proto:
        """`QueryArtifactLineageSubgraph`: everything within `max_hops` events of an artifact."""
        found = {self._resources.get(scope.name, "Artifact").name}
        for _ in range(min(scope.request.max_hops, _HOPS) or _HOPS):
            near = {n for e in self._events if {e.artifact, e.execution} & found for n in (e.artifact, e.execution)}
            if near <= found:
                break
            found |= near
        return self._graph(scope, found)

    # For the pipelines

    def ensure(self, location: str, like: Proto) -> str:
        """The default store of a location, made when there is none. `like`: of the version of the API to speak."""
        name = f"{location}/metadataStores/default"
        if self._resources.find(name) is None:
            store = sibling(like, "MetadataStore")
            stamp(store, "create_time", "update_time")
            self._resources.put(name, store)
        return name

    def keep(self, store: str, kind: str, key: str, thing: Proto) -> Proto:
        """A resource of a store (`kind`: its collection), the one that is there already when the name is taken."""
        name = f"{store}/{kind}/{key}"
        found = self._resources.find(name)
        if found is None:
            stamp(thing, "create_time", "update_time")
            found = self._resources.put(name, thing)
            _tag(found)
        return found

    def found(self, copy: Proto) -> Proto:
        """The resource that a message is a copy of, the copy itself when somebody deleted it."""
        found = self._resources.find(copy.name)
        return copy if found is None else found

    def _near(self, scope: Scope, names: Iterable[str], kind: str) -> list[Proto]:
        """The resources of these names, which must be of the store that the call is about: IAM looked at no other."""
        store = "/".join(scope.name.split("/")[:_STORE])
        for name in names:
            if not canonical(name).startswith(f"{store}/"):
                raise CloudError(StatusCode.INVALID_ARGUMENT, f"{name} is not of the metadata store {store}.")
        return self._resources.each(names, kind)

    def _node(self, thing: Proto) -> Node:
        parents = getattr(thing, "parent_contexts", ())
        inside = frozenset(context for context, members in self._members.items() if thing.name in members)
        return Node(flat(thing), frozenset(parents), inside)

    def _graph(self, scope: Scope, names: set[str]) -> Proto:
        answer = scope.answer()
        for name in sorted(names):
            thing = self._resources.find(name)
            if thing is not None:
                target = answer.artifacts if thing.DESCRIPTOR.name == "Artifact" else answer.executions
                target.append(thing)
        answer.events.extend(e for e in self._events if e.artifact in names and e.execution in names)
        return answer

    def _children(self, name: str) -> list[Proto]:
        return [each for each in self._resources.every("Context") if name in each.parent_contexts]

    def _descendants(self, name: str) -> set[str]:
        found: set[str] = set()
        for child in self._children(name):
            found |= {child.name} | self._descendants(child.name)
        return found

    def _forget(self, name: str) -> None:
        for child in self._children(name):
            kept = [parent for parent in child.parent_contexts if parent != name]
            del child.parent_contexts[:]
            child.parent_contexts.extend(kept)
        self._members.pop(name, None)
        for members in self._members.values():
            members.discard(name)
        self._events = [event for event in self._events if name not in {event.artifact, event.execution}]
        self._resources.remove(name)


def _tag(thing: Proto) -> None:
    if "etag" in thing.DESCRIPTOR.fields_by_name:
        thing.etag = new_id()
