"""What a result has to beat."""

from torch import Tensor


def prevalence_scores(train_positives: Tensor, records: int) -> Tensor:
    """Score every record by how often a label occurs in training, without a look at the ECG.

    Its AUROC is 0.5 for every label, while its micro top-k is high wherever a few labels are common: the reason to read
    the macro figures.

    Args:
        train_positives: ``(L,)`` count of positive training records of each label.
        records: How many records to score.

    Returns:
        ``(records, L)`` float64, a view of one row.
    """
    return train_positives.double().expand(records, -1)
