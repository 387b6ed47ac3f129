"""What is sent between processes arrives as it was."""

import multiprocessing
import pickle

import torch
from torch_geometric.data import Batch

from sg2im_pyg import SceneGraph
from sg2im_pyg.data.parcel import Parcel
from tests.data.batches import assert_same_batch


def graphs():
    for count in (2, 0, 3):
        yield SceneGraph(
            torch.arange(count),
            torch.zeros(2, count, dtype=torch.long),
            torch.ones(count, dtype=torch.long),
            boxes=torch.rand(count, 4),
            image=torch.randint(256, (1, 3, 5, 7), dtype=torch.uint8),
            image_id=count,
            attributes=torch.rand(count, 3) > 0.5,
        )


def send(queue):
    torch.manual_seed(0)
    queue.put(Parcel(Batch.from_data_list(list(graphs()))))
    queue.get()  # a process must live until what it sent has arrived


def test_a_batch_comes_out_of_another_process_as_it_was():
    context = multiprocessing.get_context("spawn")
    queue = torch.multiprocessing.get_context("spawn").Queue()
    process = context.Process(target=send, args=(queue,))
    process.start()
    found = queue.get(timeout=60)
    queue.put(None)
    process.join(60)
    torch.manual_seed(0)
    assert_same_batch(found, Batch.from_data_list(list(graphs())))


def test_anything_that_can_be_pickled_can_be_sent():
    shared = torch.arange(3.0)
    content = {
        "twice": [shared, shared],
        "transposed": torch.arange(6).view(2, 3).t(),
        "scalar": torch.tensor(5, dtype=torch.int16),
        "empty": torch.zeros(0, 4),
        "sparse": torch.eye(2).to_sparse(),
        "with_gradient": torch.ones(2, requires_grad=True),
        "number": 7,
    }
    found = pickle.loads(pickle.dumps(Parcel(content)))
    assert found["number"] == 7 and found["with_gradient"].requires_grad
    assert torch.equal(found["sparse"].to_dense(), torch.eye(2))
    for key in ("transposed", "scalar", "empty", "with_gradient"):
        assert torch.equal(found[key], content[key]) and found[key].dtype == content[key].dtype
    assert all(torch.equal(tensor, shared) for tensor in found["twice"])
    assert pickle.loads(pickle.dumps(Parcel("no tensor"))) == "no tensor"
