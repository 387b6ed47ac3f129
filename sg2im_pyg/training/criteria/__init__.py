"""What losses are made of: functions of tensors, which know nothing of a training."""

from typing import TYPE_CHECKING

from sg2im_pyg.system.lazy import lazy_names

if TYPE_CHECKING:
    from sg2im_pyg.training.criteria.adversarial import discriminator_loss as discriminator_loss
    from sg2im_pyg.training.criteria.adversarial import generator_loss as generator_loss
    from sg2im_pyg.training.criteria.box_distance import box_loss as box_loss
    from sg2im_pyg.training.criteria.box_distance import overlaps as overlaps
    from sg2im_pyg.training.criteria.feature_matching import feature_distance as feature_distance
    from sg2im_pyg.training.criteria.mask_entropy import mask_loss as mask_loss
    from sg2im_pyg.training.criteria.penalties import gradient_penalty as gradient_penalty
    from sg2im_pyg.training.criteria.segmentation import category_weights as category_weights
    from sg2im_pyg.training.criteria.segmentation import log_odds as log_odds
    from sg2im_pyg.training.criteria.segmentation import (
        pixels_of_categories as pixels_of_categories,
    )
    from sg2im_pyg.training.criteria.segmentation import segmenting_loss as segmenting_loss

__all__, __getattr__, __dir__ = lazy_names(__name__)
