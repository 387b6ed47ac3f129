"""From a scene graph to one vector for each of its objects."""

from torch import Tensor
from torch.nn import Embedding, Linear, Module
from torch_geometric.data import Data
from torch_geometric.nn.inits import reset

from sg2im_pyg.nn.triple_conv import TripleConvNet


class ObjectEncoder(Module):
    r"""Embeddings of categories and predicates, and the graph convolution over them (paper,
    Section 3, "Graph convolution network").

    What else is known of an object enters here. :class:`~sg2im_pyg.model.Sg2Im` is built upon this
    class rather than holding one, so that its weights have the names of all its checkpoints.

    Args:
        num_categories: Number of object categories, the special one included.
        num_predicates: Number of predicates, the special one included.
        embedding_channels: Size of the embeddings.
        out_channels: Size of the vectors :math:`D`.
        hidden_channels: See :class:`TripleConv`.
        num_layers: Layers of graph convolution; 0 puts a single linear layer in its place, and no
            relationship is looked at.
        aggr: See :class:`TripleConv`.
        norm: See :class:`TripleConv`.
    """

    def __init__(
        self,
        num_categories: int,
        num_predicates: int,
        embedding_channels: int = 128,
        out_channels: int = 128,
        hidden_channels: int = 512,
        num_layers: int = 5,
        aggr: str = "mean",
        norm: str | None = None,
    ) -> None:
        super().__init__()
        # One row more than there are categories, as in the release; it is never looked up.
        self.object_embedding = Embedding(num_categories + 1, embedding_channels)
        self.predicate_embedding = Embedding(num_predicates, embedding_channels)
        self.graph_network: TripleConvNet | Linear
        if num_layers:
            self.graph_network = TripleConvNet(
                embedding_channels, out_channels, num_layers, hidden_channels, aggr, norm
            )
        else:
            self.graph_network = Linear(embedding_channels, out_channels)
            # Nothing looks at them: several processes would wait for their gradient. To search for
            # weights that the pictures do not depend on would find those that draw boxes, too.
            self.predicate_embedding.requires_grad_(False)

    def reset_parameters(self) -> None:
        for module in self.children():
            reset(module)

    def object_vectors(self, graphs: Data) -> Tensor:
        """One vector for each object, shape :math:`(O, D)`.

        Args:
            graphs: A scene graph, or a batch of them.
        """
        vectors = self.object_embedding(graphs.x)
        if isinstance(self.graph_network, Linear):
            return self.graph_network(vectors)
        predicates = self.predicate_embedding(graphs.edge_attr)
        return self.graph_network(vectors, graphs.edge_index, predicates)[0]
